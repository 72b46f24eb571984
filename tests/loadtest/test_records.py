from __future__ import annotations

from loadtest.records import Records


def test_a_seed_shuffles_bodies_ids_and_labels_together() -> None:
    records = Records([b"%d" % i for i in range(100)], list(range(100)), [i % 2 for i in range(100)])
    one, again, other = records.shuffled(1), records.shuffled(1), records.shuffled(2)
    assert one == again
    assert len({tuple(each.bodies) for each in (records, one, other)}) == 3
    assert sorted(zip(one.bodies, one.ids, one.labels, strict=True)) == sorted(
        zip(records.bodies, records.ids, records.labels, strict=True)
    )
