"""What is remembered of how long answers took."""

from millrace.tasks.embedding.dispatch.usage import LATENCY_BUCKETS_S, Latencies


def test_each_answer_is_in_the_bucket_of_the_first_bound_that_it_does_not_pass() -> None:
    latencies = Latencies()
    for seconds in (0.0, 0.005, 0.0051, 60.0, 61.0):
        latencies.record(seconds)
    assert latencies.counts == [2, 1, *([0] * (len(LATENCY_BUCKETS_S) - 3)), 1, 1]
    assert latencies.answers == 5
    assert abs(latencies.total_s - 121.0101) < 1e-9
