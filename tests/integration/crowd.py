"""32 concurrent greedy streams: each equals its prompt alone, a cancelled third frees its pages."""
import threading

import harness
from harness import request
from server_process import until

STREAMS = 32
WORDS = ("the sea is a very old and cold place where ships sail under stars and people tell long stories of winter "
         "to children who ask how the whales sing and why").split()


def prompt(number):
    """Of its own length and words."""
    return " ".join(WORDS[(number * 7 + k) % len(WORDS)] for k in range(3 + number % 11))


def when_crowded(server):
    """The metrics, once more streams run than are going to be cancelled."""
    now = server.metrics()
    return now if now["transmla_requests_running"] > STREAMS // 3 else None


def check(test, server, max_tokens):
    """All streams finish with the text that their prompts get alone; a third is cancelled on the way."""
    alone = [server.generate(request(prompt(i), max_tokens, endless=True)).text for i in range(STREAMS)]
    server.wait_until_idle()
    cancelled_before = server.metric('transmla_requests_finished_total{finish_reason="cancelled"}')

    texts = [None] * STREAMS
    # These go on until somebody stops them.
    doomed = [server.stream(request(prompt(i), endless=True)) for i in range(STREAMS // 2)]
    calls = [server.stream(request(prompt(i), max_tokens, endless=True)) for i in range(STREAMS)]

    def read(i):
        texts[i] = harness.read(calls[i]).text

    readers = [threading.Thread(target=read, args=(i,)) for i in range(STREAMS)]
    readers += [threading.Thread(target=harness.read_until_cancelled, args=(call,)) for call in doomed]
    for reader in readers:
        reader.start()
    busiest = until(lambda: when_crowded(server), "the streams run together")
    for call in doomed:
        call.cancel()
    for reader in readers:
        reader.join()
    for i in range(STREAMS):
        test.assertEqual(texts[i], alone[i], f"stream {i} differs from its prompt alone")
    used = busiest['transmla_kv_cache_blocks{state="used"}']
    test.assertGreater(used, STREAMS // 3)
    server.wait_until_idle()
    cancelled = server.metric('transmla_requests_finished_total{finish_reason="cancelled"}') - cancelled_before
    test.assertEqual(cancelled, len(doomed))
    print(f"{STREAMS} streams of {max_tokens} tokens, each as its prompt alone; {cancelled:.0f} others cancelled; "
          f"{used:.0f} pages in use meanwhile, {server.pages_used():.0f} at the end")
