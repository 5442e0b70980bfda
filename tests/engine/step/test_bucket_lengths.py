"""The lengths that batches are padded to, and the axes that are."""

from gradloom.engine.step.bucket_lengths import BucketLengths, bucket_below, bucket_length


def test_lengths_are_powers_of_two_and_one_and_a_half_of_them():
    assert [bucket_length(n, 0) for n in range(14)] == [0, 1, 2, 3, 4, 6, 6, 8, 8, 12, 12, 12, 12, 16]
    for n in range(1, 600):
        length = bucket_length(n, 0)
        assert n <= length <= max(1.5 * n, n + 1)
        assert bucket_below(length) < n
        assert bucket_length(bucket_below(length), 0) == bucket_below(length)


def test_the_length_of_the_first_batch_is_one_of_them_too():
    assert [bucket_length(n, 100) for n in (90, 96, 97, 99, 100, 101)] == [96, 96, 100, 100, 100, 128]


def test_axes_are_padded_from_when_they_are_of_another_length():
    lengths = BucketLengths([(16, 5), (16,)])
    assert lengths.of([(16, 5), (16,)]) == []
    (padded,) = lengths.of([(9, 5), (9,)])
    assert padded.shapes == ((12, 5), (12,))
    assert padded.padded == (((0, 0), (1, 0)),)
    assert padded.probe([(9, 5), (9,)]) == [(9, 5), (9,)]
    assert padded.probe([(12, 5), (12,)]) == [(11, 5), (11,)]
    assert lengths.of([(3, 5), (3,)]) == []  # 3 stands for 3 alone


def test_axes_that_were_once_of_two_lengths_do_not_belong_together_and_may_be_padded_alone():
    lengths = BucketLengths([(16, 16), (16,)])
    padded, batch, other = lengths.of([(9, 11), (9,)])
    assert padded.padded == (((0, 0), (1, 0)), ((0, 1),))
    assert padded.probe([(12, 12), (12,)]) == [(11, 10), (11,)]
    assert (batch.shapes, other.shapes) == (((12, 11), (12,)), ((9, 12), (9,)))


def test_lengths_of_zero_and_one_are_not_padded():
    lengths = BucketLengths([(16, 5)])
    assert lengths.of([(0, 5)]) == []
    assert lengths.of([(1, 5)]) == []
