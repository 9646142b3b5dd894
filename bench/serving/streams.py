"""Streams of a running server as their clients see them: when tokens arrive. Needs the environment of stubs.enter."""
import math
import random
import threading
import time

import grpc
import harness

ORDINARY_TOKENS = range(300, 10000)  # control and single-byte tokens come before, in most vocabularies
LONGEST_S = 3600


def message(prompt_tokens, max_tokens, seed):
    """A greedy request with a prompt of random tokens of its own, which goes past the model's end token."""
    ids = random.Random(seed).choices(ORDINARY_TOKENS, k=prompt_tokens)
    # Ids are asked for because a token without text, half a character for one, sends nothing otherwise.
    return harness.request(ids=ids, max_tokens=max_tokens, endless=True,
                           output=harness.pb.OutputOptions(token_ids=True),
                           cache=harness.pb.CacheOptions(bypass_prefix_cache=True))


class Stream:
    """Starts a request; a thread of its own notes the time of every message with tokens."""

    def __init__(self, server, request):
        self.arrivals = []  # time.monotonic(), tokens
        self.error = None
        self.sent = time.monotonic()
        self._call = server.stream(request, timeout=LONGEST_S)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        seen = 0
        try:
            for part in self._call:
                if part.usage.completion_tokens > seen:
                    self.arrivals.append((time.monotonic(), part.usage.completion_tokens - seen))
                    seen = part.usage.completion_tokens
        except grpc.RpcError as error:
            self.error = error

    def join(self):
        """Waits for the end; raises what ended the stream, unless that was cancel()."""
        self._reader.join()
        if self.error and self.error.code() != grpc.StatusCode.CANCELLED:
            raise self.error

    def wait_for(self, tokens):
        """Until so many have come."""
        harness.until(lambda: self.tokens >= tokens or self.error, f"{tokens} tokens of a stream", LONGEST_S)

    def cancel(self):
        self._call.cancel()

    @property
    def first_token_s(self):
        return self.arrivals[0][0] - self.sent

    @property
    def tokens(self):
        return sum(tokens for _, tokens in self.arrivals)

    def gaps(self, begin=-math.inf, end=math.inf):
        """Seconds between one arrival and the next, of those that overlap the time from begin to end."""
        times = [moment for moment, _ in self.arrivals]
        return [after - before for before, after in zip(times, times[1:]) if after > begin and before < end]


def percentile(values, share):
    """The least of the values that a share of them does not exceed."""
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]
