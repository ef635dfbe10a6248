"""The pictures of a folder, put into every kind of container."""

import io
import json
import pickle
import tarfile
import zipfile
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from bottleneck.images.ppm import as_ppm

CLASSES = ("cat", "dog")
SPLITS = {"train": 3, "val": 2}
SIDE = 32


def plant(folder: Path) -> Path:
    """Make a folder of splits and classes, of pictures in the plainest format."""
    rng = np.random.default_rng(0)
    for split, count in SPLITS.items():
        for label in CLASSES:
            (folder / split / label).mkdir(parents=True)
            for number in range(count):
                # blurred, so that they differ for a network too
                spots = rng.integers(0, 256, (4, 4, 3), np.uint8)
                pixels = np.asarray(Image.fromarray(spots).resize((SIDE, SIDE)))
                (folder / split / label / f"{number}.ppm").write_bytes(as_ppm(pixels))
    return folder


def pictures(folder: Path) -> list[tuple[str, str, bytes]]:
    """Give split, class and bytes of each picture of such a folder."""
    return [
        (file.parts[-3], file.parts[-2], file.read_bytes())
        for file in sorted(folder.rglob("*.ppm"))
    ]


def arrays(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Give the pixels and the numbers of the classes of one split."""
    chosen = [(label, data) for part, label, data in pictures(folder) if part == split]
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(data))) for _, data in chosen])
    return pixels, np.array([CLASSES.index(label) for label, _ in chosen])


def into_zip(folder: Path, file: Path) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for each in sorted(folder.rglob("*.ppm")):
            archive.write(each, Path(folder.name) / each.relative_to(folder))
    return file


def into_tar(folder: Path, file: Path) -> Path:
    with tarfile.open(file, "w") as archive:
        archive.add(folder, folder.name)
    return file


def into_webdataset(folder: Path, top: Path) -> Path:
    """Write two shards for each split, as the webdataset library lays them out."""
    top.mkdir()
    for split in SPLITS:
        chosen = [(label, data) for part, label, data in pictures(folder) if part == split]
        for shard in range(2):
            with tarfile.open(top / f"{split}-{shard:06}.tar", "w") as archive:
                for number, (label, data) in list(enumerate(chosen))[shard::2]:
                    beside = json.dumps({"label": label}) if number % 2 else label
                    ending = "json" if number % 2 else "cls"
                    for name, content in ((ending, beside.encode()), ("ppm", data)):
                        entry = tarfile.TarInfo(f"{number:06}.{name}")
                        entry.size = len(content)
                        archive.addfile(entry, io.BytesIO(content))
    return top


def into_parquet(folder: Path, top: Path, rows_to_a_group: int = 4) -> Path:
    """Write a file for each split, as data sets lie on the Hugging Face hub."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    top.mkdir()
    names = {"info": {"features": {"label": {"names": list(CLASSES), "_type": "ClassLabel"}}}}
    for split in SPLITS:
        chosen = [(label, data) for part, label, data in pictures(folder) if part == split]
        table = pa.table(
            {
                "image": [{"bytes": data, "path": None} for _, data in chosen],
                "label": [CLASSES.index(label) for label, _ in chosen],
            }
        ).replace_schema_metadata({"huggingface": json.dumps(names)})
        pq.write_table(
            table, top / f"{split}-00000-of-00001.parquet", row_group_size=rows_to_a_group
        )
    return top


def into_npz(folder: Path, file: Path) -> Path:
    parts = {}
    for split in SPLITS:
        parts[f"x_{split}"], parts[f"y_{split}"] = arrays(folder, split)
    np.savez_compressed(file, **parts)
    return file


def into_hdf5(folder: Path, file: Path) -> Path:
    with h5py.File(file, "w") as content:
        for split in SPLITS:
            content[f"{split}/images"], content[f"{split}/labels"] = arrays(folder, split)
    return file


def into_cifar(folder: Path, top: Path, *, binary: bool = False) -> Path:
    """Write CIFAR-10's batches; what is validation here is its test batch."""
    top.mkdir()
    if binary:
        (top / "batches.meta.txt").write_text("\n".join(CLASSES) + "\n\n")
    else:
        (top / "batches.meta").write_bytes(
            pickle.dumps({b"label_names": [name.encode() for name in CLASSES]}, protocol=2)
        )
    for name, split in (("data_batch_1", "train"), ("test_batch", "val")):
        pixels, labels = arrays(folder, split)
        planes = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)
        if binary:
            rows = np.concatenate([labels[:, None].astype(np.uint8), planes], axis=1)
            (top / f"{name}.bin").write_bytes(rows.tobytes())
        else:
            content = {b"data": planes, b"labels": labels.tolist()}
            (top / name).write_bytes(pickle.dumps(content, protocol=2))
    return top
