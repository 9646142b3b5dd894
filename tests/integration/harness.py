"""What the integration tests share: stubs of a running server, streams read to their end, errors taken apart."""
import dataclasses
import sys
import unittest

import grpc
from google.longrunning import operations_pb2_grpc
from google.rpc import error_details_pb2, status_pb2
from transmla.v1 import generation_pb2 as pb
from transmla.v1 import generation_pb2_grpc, model_pb2_grpc

import server_process
from server_process import PATIENCE_S, until

DOMAIN = "transmla.dev"


class Server(server_process.Server):
    """With stubs over a connection of its own."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.channel = self.new_channel()
        self.generation = generation_pb2_grpc.GenerationServiceStub(self.channel)
        self.models = model_pb2_grpc.ModelServiceStub(self.channel)
        self.operations = operations_pb2_grpc.OperationsStub(self.channel)

    def new_channel(self, *options):
        return grpc.insecure_channel(self.address, options=[("grpc.use_local_subchannel_pool", 1), *options])

    def stream(self, message, **options):
        """The call of a Generate, not read yet."""
        return self.generation.Generate(message, **({"timeout": PATIENCE_S} | options))

    def generate(self, message, **options):
        """A Generate, read to its end."""
        return read(self.stream(message, **options))

    def once(self, message, **options):
        return self.generation.GenerateOnce(pb.GenerateOnceRequest(request=message),
                                            **({"timeout": PATIENCE_S} | options))

    def kill(self):
        if hasattr(self, "channel"):
            self.channel.close()
        super().kill()


def request(text=None, max_tokens=None, *, ids=None, greedy=True, endless=False, **fields):
    """A GenerateRequest. Greedy unless told otherwise; endless ones go past the model's end token."""
    message = pb.GenerateRequest(**fields)
    if ids is not None:
        message.token_ids.ids.extend(ids)
    elif text is not None:
        message.text = text
    if max_tokens is not None:
        message.stop.max_tokens = max_tokens
    if greedy:
        message.sampling.temperature = 0
    if endless:
        message.stop.ignore_eos = True
    return message


@dataclasses.dataclass
class Result:
    messages: list
    texts: dict  # index -> text
    tokens: dict  # index -> ids
    finished: dict  # index -> Finished

    @property
    def text(self):
        return self.texts.get(0, "")

    @property
    def accepted(self):
        return self.messages[0].accepted

    @property
    def usage(self):
        return self.messages[-1].usage


def read(call):
    """Reads a stream to its end and checks its contract on the way; raises grpc.RpcError as the call does."""
    result = Result([], {}, {}, {})
    completion_tokens = 0
    for message in call:
        kind = message.WhichOneof("event")
        assert (kind == "accepted") == (not result.messages), "Accepted is the first message and no other"
        result.messages.append(message)
        if kind == "accepted":
            continue
        assert message.usage.prompt_tokens == result.accepted.prompt_tokens
        assert message.usage.completion_tokens >= completion_tokens, "usage is cumulative"
        completion_tokens = message.usage.completion_tokens
        event = getattr(message, kind)
        if kind == "prompt":
            assert not result.texts and not result.finished, "the prompt comes before all chunks"
            continue
        assert event.index not in result.finished, "nothing of an index comes after its Finished"
        if kind == "finished":
            result.finished[event.index] = event
        else:
            result.texts[event.index] = result.texts.get(event.index, "") + event.text
            result.tokens.setdefault(event.index, []).extend(token.id for token in event.tokens)
    return result


def read_until_cancelled(call):
    """Reads what comes until the stream ends in whatever way."""
    try:
        for _ in call:
            pass
    except grpc.RpcError:
        pass


@dataclasses.dataclass
class Failure:
    code: grpc.StatusCode
    message: str
    reason: str  # of ErrorInfo; empty if there is none
    fields: list  # of BadRequest
    retry_s: float  # of RetryInfo; None if there is none
    headers: dict
    trailers: dict


def failure_of(error):
    """What an error of a call says, with its details."""
    trailers = dict(error.trailing_metadata() or ())
    failure = Failure(error.code(), error.details(), "", [], None, dict(error.initial_metadata() or ()), trailers)
    status = status_pb2.Status.FromString(trailers.get("grpc-status-details-bin", b""))
    # The client's own clock may end a call while the server's status for the same deadline is on its way: the words are gRPC's then.
    by_own_clock = error.code() == grpc.StatusCode.DEADLINE_EXCEEDED and "Stream removed" in error.details()
    if status.details:
        assert status.code == error.code().value[0], "one status, told twice"
        assert status.message == error.details() or by_own_clock, "one status, told twice"
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        retry = error_details_pb2.RetryInfo()
        bad = error_details_pb2.BadRequest()
        if detail.Unpack(info):
            assert info.domain == DOMAIN, info
            failure.reason = info.reason
        elif detail.Unpack(retry):
            failure.retry_s = retry.retry_delay.ToTimedelta().total_seconds()
        elif detail.Unpack(bad):
            failure.fields = [violation.field for violation in bad.field_violations]
    return failure


def failure(action):
    """The failure of an action that must fail."""
    try:
        action()
    except grpc.RpcError as error:
        return failure_of(error)
    raise AssertionError("the call succeeded")


def main():
    """Runs the tests of the calling file; 77 if all of them were skipped."""
    program = unittest.main(module="__main__", exit=False, verbosity=2)
    result = program.result
    if not result.wasSuccessful():
        sys.exit(1)
    if result.testsRun > 0 and len(result.skipped) == result.testsRun:
        sys.exit(77)
