"""The audit of what is installed, as far as it goes without a network.

Known vulnerabilities and withdrawn releases need a database of them: `make audit` asks one.
"""

from __future__ import annotations

import re
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

ROOT = Path(__file__).parents[3]
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))
_PERMISSIVE = re.compile(
    r"(MIT(-0|-CMU)?|Apache([- ]2\.0| Software)?|BSD([- ][23]-Clause)?|[23]-Clause BSD|PSF-2\.0|ISC"
    r"|Python Software Foundation|0BSD|Unlicense)( License)?",
    re.IGNORECASE,
)
# Changes to the package itself would have to be published; it is used as it comes.
_AS_IT_COMES = {"axe-playwright-python", "certifi", "hypothesis", "pathspec", "tqdm"}


def locked(path: Path) -> dict[NormalizedName, tuple[Requirement, int]]:
    """The requirements of a lock, each with the number of its hashes."""
    found: dict[NormalizedName, tuple[Requirement, int]] = {}
    for entry in path.read_text().replace("\\\n", " ").splitlines():
        text, *hashes = entry.split("--hash=sha256:")
        requirement = Requirement(text.strip())
        assert all(re.fullmatch(r"[0-9a-f]{64}\s*", each) for each in hashes), entry
        name = canonicalize_name(requirement.name)
        assert name not in found, f"{name} stands twice in {path.name}"
        found[name] = (requirement, len(hashes))
    return found


def installed() -> dict[NormalizedName, Distribution]:
    return {canonicalize_name(each.metadata["Name"]): each for each in distributions()}


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_every_pin_is_exact_and_hashed_and_names_no_place(path: Path) -> None:
    assert "://" not in path.read_text(), "an address"
    for name, (requirement, hashes) in locked(path).items():
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), f"{name} is not pinned"
        assert requirement.url is None
        assert hashes, f"{name} has no hash"


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_the_lock_holds_all_that_is_asked_for(path: Path) -> None:
    pins = locked(path)
    wanted = path.with_suffix(".in").read_text().splitlines()
    for line in filter(None, (each.partition("#")[0].strip() for each in wanted)):
        if not line.startswith("-r "):
            requirement = Requirement(line)
            pin, _ = pins[canonicalize_name(requirement.name)]
            version = str(pin.specifier).removeprefix("==")
            assert requirement.specifier.contains(version, prereleases=True), requirement
            assert requirement.extras <= pin.extras, requirement


def test_sets_agree_with_each_other() -> None:
    runtime, dev = (locked(ROOT / f"requirements/{name}.lock") for name in ("runtime", "dev"))
    for name, (requirement, _) in runtime.items():
        assert str(dev[name][0]) == str(requirement), "dev is more than runtime, not other"


def test_every_need_of_what_is_locked_is_met() -> None:
    """As `pip check`, which not every environment has."""
    found = installed()
    pins = locked(ROOT / "requirements/dev.lock")
    for name, (pin, _) in pins.items():
        if name not in found:
            assert pin.marker is not None, f"{name} is locked for everybody, and not installed"
            assert not pin.marker.evaluate(), f"{name} is locked for this system, not installed"
            continue
        for text in found[name].requires or ():
            need = Requirement(text)
            extras = pin.extras or {""}
            if need.marker and not any(need.marker.evaluate({"extra": each}) for each in extras):
                continue
            other = found.get(canonicalize_name(need.name))
            assert other is not None, f"{name} needs {need}"
            assert need.specifier.contains(other.version, prereleases=True), f"{name} needs {need}"


def test_licences_are_such_as_oblige_to_nothing_but_credit() -> None:
    strange = {}
    pins = {name for path in LOCKS for name in locked(path)}
    for name, distribution in installed().items():
        if name not in pins or name in _AS_IT_COMES:
            continue
        parts = re.split(r"\s+(?:AND|OR)\s+|\|", licence(distribution))
        if not all(_PERMISSIVE.fullmatch(part.strip("() ")) for part in parts):
            strange[name] = licence(distribution)
    assert not strange, "look at these, and say here what is to be thought of them"


def licence(distribution: Distribution) -> str:
    metadata = distribution.metadata
    classified = [
        each.rpartition(" :: ")[2]
        for each in metadata.get_all("Classifier") or ()
        if each.startswith("License ::") and each.count(" :: ") > 1
    ]
    written = (metadata["License"] or "").splitlines()
    return metadata["License-Expression"] or "|".join(classified) or (written or ["none"])[0]
