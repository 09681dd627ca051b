"""Attacks that other tests make, which look at more than a gain."""

from __future__ import annotations

import forgeries
from corpus import Elsewhere

_OWN, _LEAKS, _LEFT = (f"attacks/test_{name}.py" for name in ("own_work", "leaks", "left_behind"))
_SHEETS, _HOSTILE = "attacks/test_notebooks.py", "worksheets/test_hostile.py"
_VERDICTS, _FORGED = "verdicts/test_attacks.py", "verdicts/test_forgery.py"
_BATCH, _FORKING = "classroom/batch/test_batch.py", "classroom/batch/test_forking.py"
_INTAKE, _ARCHIVE = "classroom/test_intake.py", "base/test_archive.py"
_BUILD, _PROCESSES = "images/test_build_refusals.py", "host/test_processes.py"

_PRETENDED = tuple(
    Elsewhere(
        "boot",
        f"{lab} pretends: {name.removeprefix(f'{lab} ')}",
        f"{points} points, for what is honest in it" if (points := sum(honest.values())) else "0",
        f"{_FORGED}::test_a_forgery_earns_what_is_honest_in_it",
    )
    for name, (lab, _, honest) in forgeries.FORGERIES.items()
)

ELSEWHERE: tuple[Elsewhere, ...] = (
    *_PRETENDED,
    Elsewhere(
        "boot",
        "init functions for ever",
        "0 points, a time-out",
        f"{_VERDICTS}::test_what_goes_on_for_ever_is_the_students_time_out",
        f"{_VERDICTS}::test_without_the_deadline_it_does_go_on",
    ),
    Elsewhere(
        "boot",
        "tracepoints that nobody asked for, without end",
        "a failed check",
        f"{_VERDICTS}::test_places_that_nobody_asked_for_renew_no_patience",
    ),
    Elsewhere(
        "boot",
        "a stack that is not mapped",
        "a failed check",
        f"{_VERDICTS}::test_a_stack_that_is_not_mapped_is_evidence",
    ),
    Elsewhere(
        "boot",
        "DMA of 4 GiB in a loop",
        "0 points, not a failure of the grader",
        f"{_VERDICTS}::test_a_guest_that_keeps_qemu_busy_gets_no_way_out_of_a_grade",
    ),
    Elsewhere(
        "boot",
        "a panic that prints a value in 10 to the power of 300 columns",
        "400 columns",
        "observe/test_printed.py::test_a_width_without_end_takes_no_memory",
    ),
    Elsewhere(
        "boot",
        "it finds out that it is graded",
        "for a person to look at",
        "grading/test_plain.py::test_a_plain_boot_that_ends_otherwise_is_for_a_person",
    ),
    Elsewhere(
        "build",
        "names of the given code",
        "stay those of the given code",
        f"{_BUILD}::test_faked_tracepoint_in_asm",
    ),
    Elsewhere("build", "a macro bomb", "stopped", f"{_BUILD}::test_macro_bomb"),
    Elsewhere(
        "build", "a file that includes itself", "stopped", f"{_BUILD}::test_include_recursion"
    ),
    Elsewhere(
        "build",
        "debug information by hand",
        "refused, or read as nothing",
        f"{_BUILD}::test_more_handwritten_debug_information",
    ),
    Elsewhere(
        "build",
        "messages that would show places of the host",
        "show none",
        f"{_LEAKS}::test_no_path_of_the_host_when_it_does_not_build",
        f"{_LEAKS}::test_a_marker_cannot_name_another_file",
    ),
    Elsewhere(
        "build",
        "what a tool wrote is a link or a pipe",
        "refused",
        f"{_LEAKS}::test_what_a_tool_has_made_is_a_file",
    ),
    Elsewhere(
        "build",
        "a compiler that outlives the grading",
        "ended",
        f"{_LEFT}::test_a_compiler_ends_when_the_grading_ends",
        f"{_PROCESSES}::test_killing_the_group_would_not_have_been_enough",
    ),
    Elsewhere(
        "python",
        "a course around the submission",
        "not used",
        f"{_OWN}::test_a_course_in_or_around_a_submission_is_not_used",
        f"{_OWN}::test_without_the_rule_it_is_the_submissions",
    ),
    Elsewhere(
        "python",
        "a workspace with a stolen mark",
        "somebody else's work",
        f"{_OWN}::test_a_stolen_mark_gains_nothing",
    ),
    Elsewhere(
        "python",
        "configuration of nbgrader",
        "not run",
        f"{_OWN}::test_gradebook_configuration_of_a_submission_does_not_run",
    ),
    Elsewhere(
        "python",
        "pytest in the submission's folder",
        "stops before it loads anything",
        f"{_OWN}::test_pytest_stops_before_it_loads_a_submissions_python",
    ),
    Elsewhere(
        "python",
        "modules with the names of libraries",
        "not imported",
        f"{_OWN}::test_the_command_in_a_folder_of_forged_modules",
    ),
    Elsewhere(
        "notebook",
        "floods of messages of ten kinds",
        "stopped, and take no memory",
        f"{_SHEETS}::test_a_flood_of_messages_takes_no_memory",
        f"{_SHEETS}::test_without_the_budget_it_goes_on",
    ),
    Elsewhere(
        "notebook",
        "threads and memory without end",
        "ended",
        f"{_SHEETS}::test_many_processes_and_much_memory_end_the_kernel",
    ),
    Elsewhere(
        "notebook",
        "a hook that rewrites the tests",
        "earns nothing",
        f"{_HOSTILE}::test_a_hook_in_ipython_neither_earns_points_nor_sees_hidden_tests",
        f"{_HOSTILE}::test_in_one_kernel_the_hook_would_earn_all_points",
    ),
    Elsewhere(
        "notebook",
        "it reads, writes and connects in a whole class",
        "gets nothing",
        f"{_HOSTILE}::test_it_gets_nothing",
        f"{_HOSTILE}::test_without_a_sandbox_they_get_what_they_want",
    ),
    Elsewhere(
        "notebook",
        "a folder that is large, deep or full of links",
        "refused",
        f"{_SHEETS}::test_a_folder_that_is_refused",
    ),
    Elsewhere(
        "archive",
        "an archive of 3 GiB",
        "not read",
        f"{_ARCHIVE}::test_an_archive_of_three_gigabytes_is_not_read",
    ),
    Elsewhere(
        "archive",
        "a zip that lies about sizes",
        "refused",
        f"{_ARCHIVE}::test_a_zip_that_lies_about_sizes",
    ),
    Elsewhere(
        "archive",
        "a file that becomes a link while it is read",
        "refused",
        f"{_ARCHIVE}::test_a_file_that_becomes_a_link_meanwhile",
    ),
    Elsewhere(
        "archive",
        "a file changed in the year 300,000",
        "taken; when is not known",
        f"{_ARCHIVE}::test_a_file_changed_in_a_year_that_has_no_date",
    ),
    Elsewhere(
        "batch",
        "handed in before the first day of all",
        "no time is known",
        "classroom/test_findings.py::test_a_time_is_read_as_it_is_written_or_not_at_all",
    ),
    Elsewhere(
        "archive",
        "100,000 files of one student",
        "refused as a whole",
        f"{_INTAKE}::test_a_hundred_thousand_files_of_one_student",
    ),
    Elsewhere(
        "archive",
        "an archive in three archives",
        "not opened",
        f"{_INTAKE}::test_an_archive_in_an_archive_in_an_archive_is_not_opened",
    ),
    Elsewhere(
        "batch",
        "it kills the worker",
        "graded by another one",
        f"{_BATCH}::test_a_bad_class_costs_no_innocent_anything",
    ),
    Elsewhere(
        "batch",
        "everything is killed in the middle",
        "--resume grades the rest",
        f"{_BATCH}::test_what_is_done_survives_the_end_of_everything",
    ),
    Elsewhere(
        "batch",
        "3,000 folders in each other are left",
        "removed",
        f"{_LEFT}::test_three_thousand_folders_in_each_other",
    ),
    Elsewhere(
        "batch",
        "a folder of a killed grading",
        "removed by the next one",
        f"{_LEFT}::test_the_next_process_reaps",
    ),
    Elsewhere(
        "export",
        "any report, in every format",
        "valid, with the report's points",
        "exports/test_formats.py::test_any_report_gives_valid_output_that_names_nothing_hidden",
        "exports/test_wrong_output.py::test_a_wrong_file_is_noticed",
    ),
)
