"""The images of the lab's machines: built once, and again only when what they are made of changes.

A tag ends in the digest of everything that went in (the files of ``image/``, the Traefik wheel, the
architecture), so an image that exists under its tag is the right one. The Swarm nodes' image holds
the site's own container images too, in ``/var/lib/docker``: a fresh volume mounted there is filled
from it, and no node has to load or pull anything.
"""

import hashlib
import tempfile
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Thread

import docker
import requests
from docker.errors import APIError, BuildError, DockerException, ImageNotFound
from docker.models.images import Image
from docker.types import Mount

from runbook.lab import traefik, workstation
from runbook.lab.errors import LabError
from runbook.lab.parallel import for_each
from runbook.lab.runtime import create
from runbook.lab.tarball import Member, pack

RECIPE = Path(__file__).with_name("image")
REPOSITORY = "edge-lab"
LABEL = "edge-runbook.image"
SUITE = "bookworm"
# The suites that a node can be of, and what its nodes have besides. Debian 13 has the engine's
# client in a package of its own.
EXTRA = {SUITE: "fish locales tcsh", "trixie": "docker-cli sudo-rs"}
PULL_TIMEOUT_S = 8.0  # where no registry is reachable a pull either fails at once or hangs
DEMO = "demo:1"
FORMAT = "3"  # to be raised when the steps below change what an image holds


def digest(architecture: str) -> str:
    """Return 12 hexadecimal digits that change when anything the images are made of does."""
    total = hashlib.sha256()
    for path in sorted(RECIPE.rglob("*")):
        if path.is_file():
            total.update(f"{path.relative_to(RECIPE)}\0".encode())
            total.update(path.read_bytes() + b"\0")
    total.update(f"{traefik.VERSION}\0{sorted(EXTRA.items())}\0{architecture}\0{FORMAT}".encode())
    return total.hexdigest()[:12]


def tag(kind: str, version: str) -> str:
    """Return the image name for a kind of machine: client, gateway or node."""
    return f"{REPOSITORY}/{kind}:{version}"


def node(suite: str) -> str:
    """Return the kind of machine that a Swarm node of this suite is."""
    return "node" if suite == SUITE else f"node-{suite}"


def ensure(client: docker.DockerClient, suites: Iterable[str] = (SUITE,)) -> str:
    """Build the images that are missing and return the digest that ends their tags.

    Args:
        client: The host's engine.
        suites: The Debian releases that the lab's Swarm nodes are made of.

    Raises:
        LabError: A base image, a package or the Traefik binary could not be had.
    """
    architecture = str(client.version()["Arch"])
    version = digest(architecture)
    missing = [
        suite
        for suite in sorted({SUITE, *suites})
        if not all(_exists(client, tag(kind, version)) for kind in _kinds(suite))
    ]
    if not missing:
        return version
    with ThreadPoolExecutor() as pool:
        binary = pool.submit(traefik.fetch, architecture)
        for_each(missing, lambda suite: _make(client, suite, version, architecture, binary))
    _remove_older(client, version)
    return version


def remove(client: docker.DockerClient) -> list[str]:
    """Remove every image the lab built and return their names."""
    images = client.images.list(filters={"label": LABEL})
    names = [name for image in images for name in image.tags]
    for name in names:
        client.images.remove(name, force=True)
    return sorted(names)


def _exists(client: docker.DockerClient, name: str) -> bool:
    try:
        client.images.get(name)
    except ImageNotFound:
        return False
    return True


def _kinds(suite: str) -> tuple[str, ...]:
    """Return the machines that are made of a suite; only the nodes' may be another than ours."""
    return ("client", "gateway", "node") if suite == SUITE else (node(suite),)


def _make(
    client: docker.DockerClient,
    suite: str,
    version: str,
    architecture: str,
    binary: Future[Path],
) -> None:
    base = _base(client, architecture, suite)
    engine = tag(f"engine-{suite}", version)

    def build(stage: str, name: str) -> None:
        _build(client, stage, name, {"BASE": base, "EXTRA": EXTRA[suite]}, version)

    build("engine", engine)
    others = [kind for kind in _kinds(suite) if kind != node(suite)]
    with ThreadPoolExecutor(1) as pool:
        stages = pool.submit(for_each, others, lambda kind: build(kind, tag(kind, version)))
        _seed(client, engine, tag(node(suite), version), version, binary.result())
        stages.result()


def _base(client: docker.DockerClient, architecture: str, suite: str) -> str:
    """Return a minimal Debian: the one here, the one a registry has, or one made on the spot."""
    pulled = f"debian:{suite}-slim"
    made = tag("base", f"{suite}-{architecture}")
    for name in (pulled, made):
        if _exists(client, name):
            return name
    if _pulled(client, pulled):
        return pulled
    if not workstation.can_be_root():
        raise LabError(
            f"{pulled} cannot be pulled, and it takes Linux and root to make it from packages",
            todo=f"make {pulled} available to this engine, for instance with docker load",
        )
    _bootstrap(client, suite, made)
    return made


def _pulled(client: docker.DockerClient, name: str) -> bool:
    """Pull the base image if a registry answers within the bound, and say whether it is here."""

    def pull() -> None:
        with suppress(DockerException, requests.RequestException):
            client.images.pull(name)

    # Not a pool: leaving one, and leaving Python, would wait for the very pull that hangs.
    attempt = Thread(target=pull, daemon=True)
    attempt.start()
    attempt.join(PULL_TIMEOUT_S)
    return _exists(client, name)


def _bootstrap(client: docker.DockerClient, suite: str, name: str) -> None:
    """Make the base image from Debian's packages. Source: mmdebstrap(1)."""
    if not workstation.has("mmdebstrap"):
        workstation.install("mmdebstrap")
    with tempfile.TemporaryDirectory(prefix="edge-lab-") as folder:
        tarball = Path(folder) / "base.tar"
        command = ("--variant=minbase", "--include=ca-certificates", suite, str(tarball))
        workstation.as_root("mmdebstrap", "--quiet", *command)
        workstation.as_root("chmod", "a+r", str(tarball))
        repository, _, version = name.partition(":")
        client.api.import_image_from_file(
            str(tarball), repository=repository, tag=version, changes=[f"LABEL {LABEL}=base"]
        )


def _build(
    client: docker.DockerClient, stage: str, name: str, arguments: dict[str, str], version: str
) -> Image:
    try:
        image, _ = client.images.build(
            path=str(RECIPE),
            tag=name,
            target=stage,
            buildargs=arguments,
            labels={LABEL: version},
            rm=True,
            forcerm=True,
        )
    except BuildError as error:
        log = "".join(str(line.get("stream", line.get("error", ""))) for line in error.build_log)
        raise LabError(f"{name} did not build: {error}\n{log[-1500:]}") from error
    except APIError as error:
        raise LabError(f"{name} did not build: {error.explanation}") from error
    return image


def _seed(client: docker.DockerClient, engine: str, made: str, version: str, binary: Path) -> None:
    """Make the node image: the engine image with the site's container images in its engine."""
    tags = [*traefik.TAGS, DEMO]
    container = create(
        client,
        engine,
        entrypoint=["/usr/local/lib/lab/seed-images.sh", *tags],
        labels={LABEL: version},
        # A mount and not a volume of the container's own: that would become part of the image.
        host={"network_mode": "none", "mounts": [Mount("/seed", None)]},
    )
    try:
        container.put_archive("/seed", pack([Member("traefik", binary.read_bytes(), 0o755)]))
        container.start()
        status = container.wait()["StatusCode"]
        if status != 0:
            log = container.logs(tail=30).decode(errors="replace")
            raise LabError(f"the node image could not be given its container images\n{log}")
        repository, _, name = made.partition(":")
        changes = ['ENTRYPOINT ["/usr/local/lib/lab/entry.sh"]', "CMD []"]
        container.commit(repository, name, changes=changes)
    finally:
        container.remove(v=True, force=True)


def _remove_older(client: docker.DockerClient, version: str) -> None:
    """Drop the images of earlier versions that no container needs any more."""
    for image in client.images.list(filters={"label": LABEL}):
        for name in image.tags:
            if name.endswith(f":{version}") or image.labels.get(LABEL) == "base":
                continue
            try:
                client.images.remove(name)
            except APIError:  # another lab still runs on it
                continue
