"""What stands in the way of a release is said, each with its remedy; what is right passes."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from tools.release import checks
from tools.release.completeness import incomplete
from tools.release.steps import described, steps
from tools.release.versions import Declared, declared

ROOT = Path(__file__).parents[3]
TODAY = date(2026, 12, 1)
CHANGELOG = "# Changelog\n\n## 1.2.0 (2026-12-01)\n\n- New.\n\n## 1.1.0 (2026-11-01)\n\n- Old.\n"


def only(problems: object) -> str:
    [problem] = problems  # type: ignore[misc]
    return str(problem)


def test_what_is_right_is_not_complained_of() -> None:
    assert not list(checks.version_problems("1.2.0"))
    assert not list(checks.tree_problems(""))
    assert not list(checks.tag_problems("1.2.0", ["v1.1.0", "v1.20.0"]))
    assert not list(checks.declaration_problems("1.2.0", [Declared("pyproject.toml", "1.2.0")]))
    assert not list(checks.changelog_problems("1.2.0", CHANGELOG, TODAY))
    assert not list(checks.base_problems("1.2.0", CHANGELOG, ["1.1.0.binpb"]))


@pytest.mark.parametrize("version", ["", "v1.2.0", "1.2", "1.02.0", "1.2.0rc1", "1.2.0 "])
def test_a_version_has_three_numbers(version: str) -> None:
    assert "make release VERSION=1.2.3" in only(checks.version_problems(version))


def test_what_is_not_committed_is_named() -> None:
    status = " M Makefile\n?? notes.txt\n"
    assert "(Makefile, notes.txt)" in only(checks.tree_problems(status))


def test_a_version_is_released_once() -> None:
    assert "v1.2.0 exists" in only(checks.tag_problems("1.2.0", ["v1.1.0", "v1.2.0"]))


@pytest.mark.parametrize(
    ("heading", "complaint"),
    [
        ("## 1.2.0 (unreleased)", "unreleased"),
        ("## 1.2.0 (2026-12-02)", "has not come yet"),
        ("## 1.2.0 (2026-13-01)", "is no day"),
        ("## 1.3.0 (2026-12-01)", "does not begin with a section"),
    ],
)
def test_the_changelog_begins_with_the_release(heading: str, complaint: str) -> None:
    changelog = CHANGELOG.replace("## 1.2.0 (2026-12-01)", heading)
    problem = only(checks.changelog_problems("1.2.0", changelog, TODAY))
    assert complaint in problem
    assert "## 1.2.0 (2026-12-01)" in problem


def test_a_heading_of_another_form_is_named() -> None:
    changelog = CHANGELOG + "\n## older\n"
    assert "'## older'" in only(checks.changelog_problems("1.2.0", changelog, TODAY))


@pytest.mark.parametrize(
    ("images", "complaint"),
    [
        ([], "holds nothing"),
        (["1.0.0.binpb", "1.1.0.binpb"], "holds 1.0.0.binpb, 1.1.0.binpb"),
        (["1.0.0.binpb"], "1.1.0 was released last"),
    ],
)
def test_the_contract_is_held_against_the_last_release(images: list[str], complaint: str) -> None:
    assert complaint in only(checks.base_problems("1.2.0", CHANGELOG, images))


def test_the_first_release_has_no_other_before_it() -> None:
    changelog = "# Changelog\n\n## 0.1.0 (2026-12-01)\n"
    assert not list(checks.base_problems("0.1.0", changelog, ["0.1.0.dev0.binpb"]))


def test_every_form_of_manifest_is_read(tmp_path: Path) -> None:
    pom = '<project xmlns="http://maven.apache.org/POM/4.0.0">{}</project>'
    files = {
        "pyproject.toml": '[project]\nversion = "1.0.0"\n',
        "clients/cpp/CMakeLists.txt": "# x\nproject(polybatch VERSION 1.0.1 LANGUAGES CXX)\n",
        "clients/go/client.go": 'package polybatch\n\nconst Version = "1.0.2"\n',
        "clients/java/pom.xml": pom.format("<version>1.0.3</version>"),
        "clients/java/submit/pom.xml": pom.format("<parent><version>1.0.4</version></parent>"),
        "clients/java/target/pom.xml": pom.format("<version>9</version>"),
        "clients/python/pyproject.toml": '[project]\nversion = "1.0.5"\n',
        "clients/rust/Cargo.toml": '[package]\nversion = "1.0.6"\n',
        "clients/typescript/package.json": json.dumps({"version": "1.0.7"}),
        "clients/typescript/package-lock.json": json.dumps({"version": "1.0.8"}),
        "clients/unheard-of/README.md": "",
        "clients/unversioned/package.json": "{}",
        "clients/example/package.json": json.dumps({"private": True}),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = {each.file: each.version for each in declared(tmp_path)}
    versions = {version for version in found.values() if version}
    assert versions == {f"1.0.{n}" for n in range(9)}
    assert [file for file, version in found.items() if not version] == [
        "clients/unheard-of",
        "clients/unversioned/package.json",
    ]
    problems = list(checks.declaration_problems("1.0.0", declared(tmp_path)))
    assert len(problems) == len(found) - 1
    assert all("1.0.0" in each for each in problems)


def test_all_of_this_repository_has_one_version() -> None:
    everywhere = {each.file: each.version for each in declared(ROOT)}
    assert len(set(everywhere.values())) == 1, everywhere


def test_the_steps_are_in_order_and_name_what_is_there() -> None:
    text = described(steps("1.2.0", ["go", "python", "rust"], image_built=False, dist="dist"))
    order = [
        "git push origin v1.2.0 clients/go/v1.2.0",
        "docker build --tag polybatch:1.2.0 .",
        "docker push",
        "twine upload dist/polybatch-1.2.0.tar.gz dist/polybatch-1.2.0-*.whl",
        "cargo publish",
        "protos/released",
    ]
    places = [text.index(each) for each in order]
    assert places == sorted(places)
    assert "npm publish" not in text
    assert "docker build" not in described(steps("1.2.0", [], image_built=True, dist="dist"))


def test_symbols_without_a_type_are_told_but_for_what_is_not_public() -> None:
    def symbol(name: str, *, exported: bool = True, known: bool = True) -> dict[str, object]:
        reasons = [] if known else [{"message": "Return type is unknown\n  more"}]
        return {
            "name": name,
            "isExported": exported,
            "isTypeKnown": known,
            "diagnostics": reasons,
        }

    symbols = [
        symbol("polybatch.Client"),
        symbol("polybatch.Client.get", known=False),
        symbol("polybatch._operations.Caller", exported=False, known=False),
        symbol("polybatch.v1.files_pb2.File", known=False),
        symbol("polybatch.cli.main.cli", known=False),
    ]
    assert incomplete({"typeCompleteness": {"symbols": symbols}}) == (
        2,
        ["polybatch.Client.get: Return type is unknown"],
    )
