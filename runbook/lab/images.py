"""The images of the lab's machines: built once, and again only when what they are made of changes.

A tag ends in the digest of everything that went in (the files of ``image/``, the Traefik wheel, the
architecture), so an image that exists under its tag is the right one. The Swarm nodes' image holds
the site's own container images too, in ``/var/lib/docker``: a fresh volume mounted there is filled
from it, and no node has to load or pull anything.
"""

import hashlib
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Thread

import docker
import requests
from docker.errors import APIError, BuildError, DockerException, ImageNotFound
from docker.models.images import Image
from docker.types import Mount

from runbook.lab import host, traefik
from runbook.lab.errors import LabError
from runbook.lab.parallel import for_each
from runbook.lab.runtime import create
from runbook.lab.tarball import Member, pack

RECIPE = Path(__file__).with_name("image")
REPOSITORY = "edge-lab"
LABEL = "edge-runbook.image"
SUITE = "bookworm"
PULLED_BASE = f"debian:{SUITE}-slim"
PULL_TIMEOUT_S = 8.0  # where no registry is reachable a pull either fails at once or hangs
DEMO = "demo:1"
FORMAT = "2"  # to be raised when the steps below change what an image holds


def digest(architecture: str) -> str:
    """Return 12 hexadecimal digits that change when anything the images are made of does."""
    total = hashlib.sha256()
    for path in sorted(RECIPE.rglob("*")):
        if path.is_file():
            total.update(f"{path.relative_to(RECIPE)}\0".encode())
            total.update(path.read_bytes() + b"\0")
    total.update(f"{traefik.VERSION}\0{SUITE}\0{architecture}\0{FORMAT}".encode())
    return total.hexdigest()[:12]


def tag(kind: str, version: str) -> str:
    """Return the image name for a kind of machine: client, gateway or node."""
    return f"{REPOSITORY}/{kind}:{version}"


def ensure(client: docker.DockerClient) -> str:
    """Build the images that are missing and return the digest that ends their tags.

    Raises:
        LabError: A base image, a package or the Traefik binary could not be had.
    """
    architecture = str(client.version()["Arch"])
    version = digest(architecture)
    if all(_exists(client, tag(kind, version)) for kind in ("client", "gateway", "node")):
        return version
    with ThreadPoolExecutor() as pool:
        binary = pool.submit(traefik.fetch, architecture)
        base = _base(client, architecture)
        _build(client, base, "engine", version)
        stages = pool.submit(
            for_each, ("client", "gateway"), lambda s: _build(client, base, s, version)
        )
        _seed(client, version, binary.result())
        stages.result()
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


def _base(client: docker.DockerClient, architecture: str) -> str:
    """Return a minimal Debian: the one here, the one a registry has, or one made on the spot."""
    made = tag("base", f"{SUITE}-{architecture}")
    for name in (PULLED_BASE, made):
        if _exists(client, name):
            return name
    if _pulled(client):
        return PULLED_BASE
    if not host.can_be_root():
        raise LabError(
            f"{PULLED_BASE} cannot be pulled, and it takes Linux and root to make it from packages",
            todo=f"make {PULLED_BASE} available to this engine, for instance with docker load",
        )
    _bootstrap(client, made)
    return made


def _pulled(client: docker.DockerClient) -> bool:
    """Pull the base image if a registry answers within the bound, and say whether it is here."""

    def pull() -> None:
        with suppress(DockerException, requests.RequestException):
            client.images.pull(PULLED_BASE)

    # Not a pool: leaving one, and leaving Python, would wait for the very pull that hangs.
    attempt = Thread(target=pull, daemon=True)
    attempt.start()
    attempt.join(PULL_TIMEOUT_S)
    return _exists(client, PULLED_BASE)


def _bootstrap(client: docker.DockerClient, name: str) -> None:
    """Make the base image from Debian's packages. Source: mmdebstrap(1)."""
    if not host.has("mmdebstrap"):
        host.install("mmdebstrap")
    with tempfile.TemporaryDirectory(prefix="edge-lab-") as folder:
        tarball = Path(folder) / "base.tar"
        command = ("--variant=minbase", "--include=ca-certificates", SUITE, str(tarball))
        host.as_root("mmdebstrap", "--quiet", *command)
        host.as_root("chmod", "a+r", str(tarball))
        repository, _, version = name.partition(":")
        client.api.import_image_from_file(
            str(tarball), repository=repository, tag=version, changes=[f"LABEL {LABEL}=base"]
        )


def _build(client: docker.DockerClient, base: str, stage: str, version: str) -> Image:
    try:
        image, _ = client.images.build(
            path=str(RECIPE),
            tag=tag(stage, version),
            target=stage,
            buildargs={"BASE": base},
            labels={LABEL: version},
            rm=True,
            forcerm=True,
        )
    except BuildError as error:
        log = "".join(str(line.get("stream", line.get("error", ""))) for line in error.build_log)
        raise LabError(f"the {stage} image did not build: {error}\n{log[-1500:]}") from error
    except APIError as error:
        raise LabError(f"the {stage} image did not build: {error.explanation}") from error
    return image


def _seed(client: docker.DockerClient, version: str, binary: Path) -> None:
    """Make the node image: the engine image with the site's container images in its engine."""
    tags = [*traefik.TAGS, DEMO]
    container = create(
        client,
        tag("engine", version),
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
        repository, _, name = tag("node", version).partition(":")
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
