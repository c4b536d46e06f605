"""What is left for a person to do once a release is built: every command, in its order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

TWINE = ".venv/release/bin/twine"


@dataclass(frozen=True, slots=True)
class Step:
    """What is published, why at this place in the order, and by which commands."""

    what: str
    why: str
    commands: tuple[str, ...]


def steps(version: str, clients: Iterable[str], *, image_built: bool, dist: str) -> Iterator[Step]:
    """Yields what to do, in order. `clients`: the folders of clients/."""
    present = frozenset(clients)
    tags = [f"v{version}"]
    if "go" in present:
        # By this form the Go tools find a module that is not at the root.
        tags.append(f"clients/go/v{version}")
    yield Step(
        "The tags",
        "all else names them, Go modules are published by them, and C++ builds from them",
        (
            *(f"git tag --annotate {tag} --message 'polybatch {version}'" for tag in tags),
            f"git push origin {' '.join(tags)}",
        ),
    )
    tagged = f"docker tag polybatch:{version} REGISTRY/polybatch:{version}"
    build = f"docker build --tag polybatch:{version} ."
    yield Step(
        "The image",
        "services before clients: a service answers older clients, a newer client may ask for more",
        (*(() if image_built else (build,)), tagged, f"docker push REGISTRY/polybatch:{version}"),
    )
    yield Step(
        "The Python client, to PyPI",
        "the suite's wheel is not for an index: it is installed beside requirements/runtime.lock",
        (f"{TWINE} upload {dist}/polybatch-{version}.tar.gz {dist}/polybatch-{version}-*.whl",),
    )
    others = {
        "rust": "cargo publish --manifest-path clients/rust/Cargo.toml",
        "typescript": "npm publish ./clients/typescript",
        "java": "mvn --file clients/java/pom.xml deploy",
    }
    commands = tuple(command for client, command in others.items() if client in present)
    if commands:
        yield Step("The other clients", "in any order: none needs another", commands)
    yield Step(
        "The release's page",
        f"with the section of CHANGELOG.md as its text and all of {dist} as its files",
        (f"git show v{version}:CHANGELOG.md", f"sha256sum --check SHA256SUMS  # in {dist}"),
    )
    yield Step(
        "The contract",
        "from now on changes of the protos are held against this release",
        (
            "git rm protos/released/*.binpb",
            f"mkdir -p protos/released && cp {dist}/{version}.binpb protos/released/",
            "git add protos/released",
            f"git commit --message 'Hold the contract against {version}'",
        ),
    )


def described(all_steps: Iterable[Step]) -> str:
    """The steps as text for a terminal."""
    lines: list[str] = []
    for number, step in enumerate(all_steps, 1):
        lines.append(f"{number}. {step.what}: {step.why}.")
        lines += [f"     {command}" for command in step.commands]
    return "\n".join(lines)
