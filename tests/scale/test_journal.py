from ctonnx_scale.journal import Journal


def test_batch_that_ended_begins_for_the_first_time_again() -> None:
    journal = Journal()
    assert journal.begin(1) == 1
    journal.end(1, unread=3)
    assert journal.begin(1) == 1
    report = journal.report()
    assert (report.repeated, report.unread, report.given_up) == (0, 3, 0)


def test_batch_and_files_that_began_without_an_end_are_counted() -> None:
    journal = Journal()
    assert [journal.begin(7) for _ in range(3)] == [1, 2, 3]
    assert [journal.begin(7, "a.png") for _ in range(3)] == [1, 2, 3]
    assert journal.begin(7, "b.png") == 1
    journal.end(7, "b.png")
    assert journal.begin(7, "b.png") == 1
    report = journal.report()
    assert (report.repeated, report.given_up) == (1, 1)
    journal.end(7)
    assert journal.begin(7, "a.png") == 1


def test_first_batch_and_processes_are_noted() -> None:
    journal = Journal()
    assert journal.report().began is None
    journal.opened()
    journal.opened()
    journal.begin(1)
    began = journal.report().began
    journal.begin(2)
    assert began is not None
    assert (journal.report().began, journal.report().actors) == (began, 2)
