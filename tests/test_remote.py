"""Files behind a URL, on a real server of S3."""

import subprocess
import sys

import pytest
from s3fs import S3FileSystem

from bottleneck import remote
from bottleneck.errors import BottleneckError
from bottleneck.images.place import open_place
from bottleneck.images.source import read_source
from bottleneck.remote import GoneError, Remote, RemoteError, clean_url
from tests.store import KEY, SECRET, Store, running_store


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_FIRST_PAUSE", 0.01)


def test_a_listing_of_20_000_pictures_takes_a_request_for_each_thousand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = [f"photos/{label}/{number:05d}.jpg" for label in "ab" for number in range(10_000)]
    with running_store(names) as store:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        S3FileSystem.clear_instance_cache()  # it knows the other server
        found = read_source("s3://filled/photos")
    S3FileSystem.clear_instance_cache()
    assert (len(found.files), found.classes) == (20_000, ("a", "b"))
    assert all(file.stamp is not None for file in found.files)
    # one more may ask whether there is a 21st page
    assert len(store.asked) <= 21


@pytest.mark.parametrize("fault", ["503", "500", "429", "reset"])
def test_a_fault_that_passes_is_not_noticed(store: Store, fault: str) -> None:
    store.put(f"{store.url}/a.jpg", b"content")
    store.faults.append(["GET .*a.jpg", fault, 3])
    assert Remote(store.url).read("a.jpg") == b"content"
    assert store.count("GET .*a.jpg") == 4


def test_a_fault_that_stays_is_told_after_a_few_tries(store: Store) -> None:
    store.put(f"{store.url}/a.jpg", b"content")
    store.faults.append(["GET .*a.jpg", "503", 1000])
    with pytest.raises(
        RemoteError, match=r"a\.jpg cannot be reached: the store answers 503.* 5 tries"
    ):
        Remote(store.url).read("a.jpg")
    assert store.count("GET .*a.jpg") == 5


def test_what_is_not_there_is_asked_for_once(store: Store) -> None:
    with pytest.raises(GoneError, match="no such object"):
        Remote(store.url).read("none.jpg")
    assert store.count("GET .*none.jpg") == 1
    assert Remote(f"{store.url}/none").find() == {}


def test_who_has_no_access_is_told_so_at_once_and_no_secret(store: Store) -> None:
    store.put(f"{store.url}/a.jpg", b"content")
    store.faults.append(["GET", "403", 1000])
    with pytest.raises(RemoteError, match=r"no access to s3://.*AWS_.*FSSPEC_") as raised:
        Remote(store.url).read("a.jpg")
    assert store.count("GET .*a.jpg") == 1
    assert KEY not in str(raised.value)
    assert SECRET not in str(raised.value)


def test_what_was_put_or_changed_since_a_listing_is_seen(store: Store) -> None:
    place = Remote(store.url)
    store.put(f"{store.url}/x/a.jpg", b"content")
    before = place.find()["x/a.jpg"]
    store.put(f"{store.url}/x/a.jpg", b"another")
    store.put(f"{store.url}/x/b.jpg", b"content")
    assert place.look("x/a.jpg") != before == place.look("x/b.jpg")
    assert Remote(f"{store.url}/x/b.jpg").is_file()


def test_the_version_of_an_object_follows_its_content_and_lies_in_the_past(store: Store) -> None:
    import time

    versions = []
    for content in (b"one", b"two", b"one"):
        store.put(f"{store.url}/a.jpg", content)
        versions.append(Remote(store.url).find()["a.jpg"].version)
    assert versions[0] == versions[2] != versions[1]
    assert all(0 <= version < time.time_ns() for version in versions)
    assert Remote(store.url).look("a.jpg").version == versions[0]


@pytest.mark.parametrize(
    "url",
    [
        f"https://user:{SECRET}@host/photos",
        f"s3://{KEY}:{SECRET}@bucket/photos",
        f"https://host/photos?X-Amz-Signature={SECRET}",
        f"zip://::https://host/photos.zip?sig={SECRET}",
        f"https://host/photos#{SECRET}",
        f"https://{SECRET}@host/photos",
        f"zip://::HTTP://{SECRET}@host/photos.zip",
    ],
)
def test_a_url_with_a_secret_in_it_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(BottleneckError, match="would be written down") as raised:
        clean_url(url)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("url", ["s3://", "s3:///photos", "gs://", "https://", "https:///photos"])
def test_a_url_that_names_no_bucket_or_host_is_refused(url: str) -> None:
    with pytest.raises(BottleneckError, match=r"names no (bucket|host); expected .*://NAME/FOLDER"):
        read_source(url)


@pytest.mark.parametrize("name", ["x.zip", "set.tar"])
def test_a_folder_named_like_an_archive_is_a_folder(store: Store, name: str) -> None:
    store.put(f"{store.url}/{name}/cat/1.jpg", b"content")
    source = read_source(f"{store.url}/{name}")
    assert [file.path for file in source.files] == ["cat/1.jpg"]
    above = read_source(store.url)
    assert [file.path for file in above.files] == [f"{name}/cat/1.jpg"]
    assert open_place(above.root).read(f"{name}/cat/1.jpg") == b"content"
    assert open_place(above.root).stamp(f"{name}/cat/1.jpg")[0] == 7


def test_a_file_outside_object_stores_appears_whole(tmp_path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    place = Remote(f"file://{tmp_path}/there")
    place.upload(tmp_path / "a", "x/b")
    assert list(place.find()) == ["x/b"]
    assert place.read("x/b", 2, 4) == b"nt"


@pytest.mark.parametrize("url", ["https://127.0.0.1:1/cache", "zip://::file:///x.zip"])
def test_what_can_only_be_read_is_not_written_to(url: str) -> None:
    with pytest.raises(BottleneckError, match="can only be read"):
        Remote(url).refuse_to_write()


def test_a_kind_of_store_that_nobody_knows_is_named() -> None:
    with pytest.raises(BottleneckError, match="nowhere"):
        Remote("nowhere://a/b").find()


@pytest.mark.parametrize("missing", ["fsspec", "s3fs"])
def test_a_package_that_is_missing_is_named(missing: str) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from bottleneck.remote import Remote\n"
        "try: Remote('s3://bucket/x').find()\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.startswith("BottleneckError")
    assert missing in said.stdout


def test_local_work_imports_no_fsspec() -> None:
    code = (
        "import sys, bottleneck.cli.extract, bottleneck.cache.store, bottleneck.images.source\n"
        "print('fsspec' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "False\n"
