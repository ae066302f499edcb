"""The authors' files come in as they are, and nothing in them is ever run."""

from __future__ import annotations

import io
import pickle
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from captum_sing import ConceptBank, LinearTranslator
from captum_sing.authors import KARLO_ENCODER, read_translator, strings_of
from captum_sing.errors import SINGFileError, SINGNameError, SINGRuntimeError

AUTHORS = Path(__file__).parents[2] / "shared" / "data" / "authors"
BANK = AUTHORS / "embeddings" / "attribute_embeddings_broden_style_fp16.npz"
needs_authors = pytest.mark.skipif(
    not AUTHORS.is_dir(), reason="the authors' files are not at ../shared/data/authors"
)

D, E = 6, 4
METADATA: dict[str, Any] = {
    "model_name": "toy",
    "translator_name": "linear",
    "architecture": "linear",
    "embedding_backend": "kakao_karlo_v1_alpha_image_variations",
    "in_dim": D,
    "out_dim": E,
    "hidden_dim": 9,
    "checkpoint_file": "best.pt",
}


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


STATE = {"weight": gaussian(E, D), "bias": gaussian(E, seed=1)}


def folder_of(path: Path, state: object = STATE, **changes: object) -> Path:
    """A folder in the authors' layout; None leaves an entry out."""
    metadata = {k: v for k, v in {**METADATA, **changes}.items() if v is not None}
    lines = [f"{key}: {value}" for key, value in metadata.items()]
    (path / "metadata.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    torch.save(state, path / "best.pt")
    return path


class Bomb:
    """Leaves a trace where it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.trace,))


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Where a bomb leaves its trace; that it does is checked first."""
    path = tmp_path / "trace"
    pickle.loads(pickle.dumps(Bomb(path)))  # noqa: S301
    assert path.exists()
    path.unlink()
    return path


class TestLinear:
    def test_is_the_map_of_the_file(self, tmp_path: Path) -> None:
        translator = LinearTranslator.from_authors(folder_of(tmp_path))
        f = gaussian(5, D, seed=2)
        wanted = f @ STATE["weight"].T + STATE["bias"]
        torch.testing.assert_close(translator(f), wanted, rtol=0, atol=1e-6)
        assert translator.encoder == KARLO_ENCODER
        assert translator.model is None  # "toy" names no weights
        assert translator.facts["metadata"] == METADATA
        assert translator.facts["source"] == "the SING authors' release"

    @needs_authors
    @pytest.mark.parametrize(("name", "width"), [("deit", 1024), ("efficientnet", 1280)])
    def test_of_the_release_is_the_map_of_its_file(self, name: str, width: int) -> None:
        folder = AUTHORS / "translators" / name / "linear"
        translator = LinearTranslator.from_authors(folder)
        state = torch.load(folder / "best.pt", weights_only=True)
        f = gaussian(20, width)
        wanted = f @ state["weight"].T + state["bias"]
        assert (translator(f) - wanted).norm() <= 1e-6 * wanted.norm()
        exact = f.double() @ state["weight"].double().T + state["bias"].double()
        torch.testing.assert_close(translator(f.double()), exact, rtol=1e-12, atol=1e-12)
        assert (translator.feature_dim, translator.embedding_dim) == (width, 768)
        assert (translator.encoder, translator.facts["metadata"]["model_name"]) == (
            KARLO_ENCODER,
            name,
        )

    def test_takes_statistics_and_a_file_of_ours(self, tmp_path: Path) -> None:
        translator = LinearTranslator.from_authors(folder_of(tmp_path))
        with pytest.raises(SINGRuntimeError, match=r"translator\.with_statistics\(features\)"):
            _ = translator.mean
        f = gaussian(30, D, seed=2) + 1
        known = translator.with_statistics(f)
        torch.testing.assert_close(known(f), translator(f), rtol=0, atol=1e-5)
        again = LinearTranslator.load(known.save(tmp_path / "t.safetensors"))
        assert torch.equal(again(f), known(f))
        assert again.facts == known.facts
        assert again.facts.items() >= translator.facts.items()

    def test_of_another_encoder_keeps_its_name(self, tmp_path: Path) -> None:
        folder = folder_of(tmp_path, embedding_backend="siglip")
        assert LinearTranslator.from_authors(folder).encoder == "siglip"

    def test_refuses_a_nonlinear_one(self, tmp_path: Path) -> None:
        folder = folder_of(tmp_path, architecture="3layer")
        with pytest.raises(
            SINGFileError, match=r"architecture linear, got '3layer'. Read it with N"
        ):
            LinearTranslator.from_authors(folder)

    @pytest.mark.parametrize(
        ("state", "message"),
        [
            ({"weight": STATE["weight"]}, "differences in .*bias"),
            ({**STATE, "extra": torch.ones(1)}, "differences in .*extra"),
            ({**STATE, "weight": gaussian(E, D + 1)}, r"differences in .*\(4, 6\).*\(4, 7\)"),
            ({**STATE, "bias": gaussian(E + 1)}, r"differences in .*\(4,\).*\(5,\)"),
            ({**STATE, "bias": torch.full((E,), torch.nan)}, r"NaN or infinity in \['bias'\]"),
            (STATE["weight"], "a state dict of tensors, got .*Tensor"),
            ({**STATE, "epoch": 3}, "a state dict of tensors"),
            ({**STATE, 7: STATE["bias"]}, "a state dict of tensors, got .*dict"),
            ({}, "differences in"),
            (
                {**STATE, "bias": STATE["bias"].cdouble()},
                r"of real numbers, .*others in \['bias'\]",
            ),
            ({**STATE, "bias": STATE["bias"] > 0}, r"others in \['bias'\]"),
            ({**STATE, "bias": STATE["bias"].to_sparse()}, "got"),
            ({**STATE, "bias": STATE["bias"].to("meta")}, r"others in \['bias'\]"),
            ({**STATE, "bias": torch.ones(1).expand(E)}, r"others in \['bias'\]"),
            ({**STATE, "bias": 1e300 * STATE["bias"].double()}, r"NaN or infinity in \['bias'\]"),
        ],
    )
    def test_refuses_other_entries(self, state: object, message: str, tmp_path: Path) -> None:
        with pytest.raises(SINGFileError, match=f"from_authors: expected checkpoint.*{message}"):
            LinearTranslator.from_authors(folder_of(tmp_path, state))

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"in_dim": D + 1}, r"differences in .*\(4, 7\)"),
            ({"in_dim": 0}, "with in_dim, a width of at least 1, got .*0"),
            ({"in_dim": "true"}, "with in_dim, a width"),
            ({"out_dim": -4}, "with out_dim, a width"),
            ({"hidden_dim": None}, "with hidden_dim, a width .*None"),
            ({"model_name": 3}, "with model_name, text, got .*int"),
            ({"checkpoint_file": None}, "with checkpoint_file, text, got .*None"),
        ],
    )
    def test_refuses_other_metadata(
        self, changes: dict[str, Any], message: str, tmp_path: Path
    ) -> None:
        with pytest.raises(SINGFileError, match=f"from_authors: expected .*{message}"):
            LinearTranslator.from_authors(folder_of(tmp_path, **changes))

    @pytest.mark.parametrize(
        "text",
        [
            "- a list",
            "a: [",
            "!!python/object/apply:os.getcwd []",
            "x: !!python/name:os.sep",
            "x: !!timestamp soon",
            "x: !!bool perhaps",
            "a: &a [1]\nb: *a",
        ],
    )
    def test_refuses_metadata_that_are_none(self, text: str, tmp_path: Path) -> None:
        folder_of(tmp_path)
        (tmp_path / "metadata.yaml").write_text(text)
        with pytest.raises(SINGFileError, match="from_authors: expected folder with"):
            LinearTranslator.from_authors(tmp_path)

    @pytest.mark.parametrize("key", ["model_name", "in_dim"])
    def test_does_not_print_what_stands_for_something_endless(
        self, key: str, tmp_path: Path
    ) -> None:
        lines = ["a: &a0 [" + "lol, " * 9 + "]"]
        lines += [f"a{i}: &a{i} [" + f"*a{i - 1}, " * 9 + "]" for i in range(1, 6)]
        folder_of(tmp_path, **{key: None})
        with (tmp_path / "metadata.yaml").open("a") as file:
            file.write("\n".join([*lines, f"{key}: *a5"]))
        with pytest.raises(SINGFileError, match="from_authors: expected") as caught:
            LinearTranslator.from_authors(tmp_path)
        assert len(str(caught.value)) < 1000

    def test_metadata_do_not_stand_for_facts_of_ours(self, tmp_path: Path) -> None:
        lied = {"report": "perfect", "alpha": 3, "model": "another", "count": 7}
        folder = folder_of(tmp_path, **lied)
        with (folder / "metadata.yaml").open("a") as file:
            file.write("5: five\ndate: 2024-01-01\n")
        translator = LinearTranslator.from_authors(folder)
        assert translator.facts["metadata"] == {**METADATA, **lied}
        assert set(translator.facts) == {"metadata", "encoder", "source"}
        translator.save(folder / "t.safetensors")

    def test_refuses_links_in_a_circle(self, tmp_path: Path) -> None:
        folder_of(tmp_path)
        (tmp_path / "best.pt").unlink()
        (tmp_path / "best.pt").symlink_to(tmp_path / "best.pt")
        with pytest.raises(SINGFileError, match="from_authors: expected checkpoint_file"):
            LinearTranslator.from_authors(tmp_path)

    def test_refuses_a_folder_that_is_none(self, tmp_path: Path) -> None:
        with pytest.raises(SINGFileError, match=r"folder with a metadata.yaml, got .*No such file"):
            LinearTranslator.from_authors(tmp_path / "nowhere")

    @pytest.mark.parametrize("name", ["../best.pt", "/etc/passwd", "..", "a/best.pt", r"a\best.pt"])
    def test_refuses_a_checkpoint_elsewhere(self, name: str, tmp_path: Path) -> None:
        inner = tmp_path / "inner"
        inner.mkdir()
        folder_of(tmp_path)  # the file is there to be had
        with pytest.raises(
            SINGFileError, match="checkpoint_file to be a file of the folder itself"
        ):
            LinearTranslator.from_authors(folder_of(inner, checkpoint_file=f"'{name}'"))

    def test_refuses_a_link_that_leads_out(self, tmp_path: Path) -> None:
        inner = tmp_path / "inner"
        inner.mkdir()
        folder_of(inner)
        LinearTranslator.from_authors(inner)
        (inner / "best.pt").rename(tmp_path / "best.pt")
        (inner / "best.pt").symlink_to(tmp_path / "best.pt")
        with pytest.raises(
            SINGFileError, match="checkpoint_file to be a file of the folder itself"
        ):
            LinearTranslator.from_authors(inner)

    def test_refuses_a_truncated_checkpoint(self, tmp_path: Path) -> None:
        path = folder_of(tmp_path) / "best.pt"
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(SINGFileError, match="a checkpoint of tensors alone"):
            LinearTranslator.from_authors(tmp_path)

    def test_runs_no_bomb(self, trace: Path, tmp_path: Path) -> None:
        folder = folder_of(tmp_path, {**STATE, "bomb": Bomb(trace)})
        with pytest.raises(SINGFileError, match="or holds more than tensors") as caught:
            read_translator(folder)
        assert "weights_only" not in str(caught.value)  # no advice to run it after all
        plain = pickle.dumps({**STATE, "bomb": Bomb(trace)}, protocol=2)
        (folder / "best.pt").write_bytes(plain)
        with pytest.raises(SINGFileError, match="a checkpoint of tensors alone"):
            read_translator(folder)
        assert not trace.exists()


NAMES, PROMPTS = ["red", "bleu ciel é", "with parallel lines", "赤"], ["prompt1", "mean"]
EMBEDDINGS = 3 * gaussian(4, 2, E).numpy().astype(np.float16)


def bank_of(path: Path, **changes: Any) -> Path:
    """A bank in the authors' layout; None leaves an entry out."""
    entries = {
        "classes": np.array(NAMES, dtype=object),
        "prompts": np.array(PROMPTS, dtype=object),
        "embeddings": EMBEDDINGS,
    } | changes
    path = path / "bank.npz"
    np.savez_compressed(path, **{k: v for k, v in entries.items() if v is not None})
    return path


def with_entry(path: Path, name: str, content: bytes) -> Path:
    """The same archive, with one entry's bytes put in place of its own."""
    with zipfile.ZipFile(path) as archive:
        entries = {entry: archive.read(entry) for entry in archive.namelist()} | {name: content}
    with zipfile.ZipFile(path, "w") as archive:
        for entry, data in entries.items():
            archive.writestr(entry, data)
    return path


def object_entry(pickled: bytes, shape: tuple[int, ...] = (4,)) -> bytes:
    file = io.BytesIO()
    header = {"descr": "|O", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + pickled


class TestBank:
    @pytest.mark.parametrize("template", PROMPTS)
    @pytest.mark.parametrize("order", ["C", "F"])
    def test_has_their_names_and_directions(
        self, template: str, order: Any, tmp_path: Path
    ) -> None:
        path = bank_of(tmp_path, embeddings=np.asarray(EMBEDDINGS, order=order))
        bank = ConceptBank.from_authors(path, template)
        column = torch.from_numpy(EMBEDDINGS[:, PROMPTS.index(template)].astype(np.float64))
        slow = torch.stack([row / row.norm() for row in column]).float()
        assert list(bank.names) == NAMES
        torch.testing.assert_close(bank.embeddings, slow, rtol=0, atol=1e-7)
        assert bank.encoder == KARLO_ENCODER
        assert list(bank.groups.values()) == [tuple(NAMES)]

    def test_may_be_of_another_encoder_or_of_plain_strings(self, tmp_path: Path) -> None:
        bank = ConceptBank.from_authors(bank_of(tmp_path, classes=np.array(NAMES)), encoder="toy")
        assert (list(bank.names), bank.encoder) == (NAMES, "toy")

    @needs_authors
    def test_of_the_release_has_173_names_of_unit_length(self) -> None:
        bank = ConceptBank.from_authors(BANK)
        assert bank.embeddings.shape == (173, 768)
        assert len(set(bank.names)) == 173
        assert {"black", "polka-dotted", "with parallel lines", "monochrome"} <= set(bank.names)
        assert bank.embeddings.norm(dim=1).tolist() == pytest.approx([1.0] * 173, abs=1e-6)
        theirs = np.load(BANK)["embeddings"]
        row = theirs[bank.names.index("polka-dotted"), 5].astype(np.float64)
        np.testing.assert_allclose(
            bank.embeddings[bank.names.index("polka-dotted")], row / np.linalg.norm(row), atol=1e-6
        )
        prompt = ConceptBank.from_authors(BANK, "prompt1")
        assert not torch.allclose(prompt.embeddings, bank.embeddings, atol=1e-3)

    def test_refuses_another_template(self, tmp_path: Path) -> None:
        with pytest.raises(
            SINGNameError, match=r"template in \['prompt1', 'mean'\], got 'prompt9'"
        ):
            ConceptBank.from_authors(bank_of(tmp_path), "prompt9")

    @pytest.mark.parametrize(
        "changes",
        [
            {"classes": None},
            {"classes": np.array([*NAMES, "one more"], dtype=object)},
            {"classes": np.array([1, 2, 3, 4])},
            {"classes": np.array(["red", 2, None, "blue"], dtype=object)},
            {"classes": np.array([NAMES], dtype=object)},
            {"embeddings": EMBEDDINGS[:, 0]},
            {"embeddings": np.array(["a", "b"])},
            {"embeddings": EMBEDDINGS > 0},
            {"embeddings": EMBEDDINGS.astype(np.complex64)},
            {"embeddings": EMBEDDINGS.astype(np.float64) * 1e300},
            {"embeddings": np.zeros((4, 2), dtype=[("a", "<f4"), ("b", "<f4")])},
        ],
        ids=str,
    )
    def test_refuses_another_layout(self, changes: dict[str, Any], tmp_path: Path) -> None:
        with pytest.raises(SINGFileError, match="from_authors: expected path "):
            ConceptBank.from_authors(bank_of(tmp_path, **changes))

    def test_refuses_what_is_no_archive(self, tmp_path: Path) -> None:
        path = bank_of(tmp_path)
        path.write_bytes(path.read_bytes()[:-50])
        for broken in (path, tmp_path / "missing.npz", tmp_path):
            with pytest.raises(SINGFileError, match="path a whole bank of names and embeddings"):
                ConceptBank.from_authors(broken)

    def test_refuses_a_header_that_promises_more(self, tmp_path: Path) -> None:
        file = io.BytesIO()
        header = {"descr": "<f2", "fortran_order": False, "shape": (4, 2, 10**9)}
        np.lib.format.write_array_header_1_0(file, header)
        path = with_entry(bank_of(tmp_path), "embeddings.npy", file.getvalue() + bytes(64))
        with pytest.raises(SINGFileError, match="embeddings with 64 bytes for float16"):
            ConceptBank.from_authors(path)

    @pytest.mark.parametrize(
        "entry", [b"", b"\x93NUMPY\x09\x00", b"\x93NUMPY\x01\x00\x04\x00{{{{", bytes(200)]
    )
    def test_refuses_a_damaged_header(self, entry: bytes, tmp_path: Path) -> None:
        path = with_entry(bank_of(tmp_path), "classes.npy", entry)
        with pytest.raises(SINGFileError, match="classes with a damaged header"):
            ConceptBank.from_authors(path)

    def test_refuses_a_header_that_is_too_long(self, tmp_path: Path) -> None:
        file = io.BytesIO()
        descr = [(f"f{i}", "<f4") for i in range(2000)]
        header = {"descr": descr, "fortran_order": False, "shape": (4,)}
        np.lib.format.write_array_header_1_0(file, header)
        path = with_entry(bank_of(tmp_path), "classes.npy", file.getvalue())
        with pytest.raises(SINGFileError, match="classes with a damaged header") as caught:
            ConceptBank.from_authors(path)
        assert "allow_pickle" not in str(caught.value)

    def test_refuses_another_compression_that_is_damaged(self, tmp_path: Path) -> None:
        path = tmp_path / "bank.npz"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
            archive.writestr("classes.npy", bytes(10_000))
        content = bytearray(path.read_bytes())
        content[60:70] = b"\xff" * 10
        path.write_bytes(content)
        with pytest.raises(SINGFileError, match="path a whole bank of names and embeddings"):
            ConceptBank.from_authors(path)

    @pytest.mark.parametrize("instruction", [b"]", b"(", b")", b"N"])
    @pytest.mark.parametrize("count", [1 << 22, 1 << 25])
    def test_reads_no_small_file_that_would_fill_the_memory(
        self, instruction: bytes, count: int, tmp_path: Path
    ) -> None:
        entry = object_entry(b"\x80\x04" + instruction * count + b".")
        path = bank_of(tmp_path)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("classes.npy", entry)
        tracemalloc.start()
        with pytest.raises(SINGFileError, match=r"instruction|classes of 33554\d\d\d bytes"):
            ConceptBank.from_authors(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 26
        tracemalloc.stop()

    @pytest.mark.parametrize("protocol", [2, 3, 4, 5])
    def test_runs_no_bomb(self, protocol: int, trace: Path, tmp_path: Path) -> None:
        array = np.array(["red", Bomb(trace), "blue", "green"], dtype=object)
        entry = object_entry(pickle.dumps(array, protocol=protocol))
        path = with_entry(bank_of(tmp_path), "classes.npy", entry)
        with pytest.raises(SINGFileError, match=r"the name '.*', which no array of strings needs"):
            ConceptBank.from_authors(path)
        assert not trace.exists()
        np.load(path, allow_pickle=True)["classes"]
        assert trace.exists()  # numpy itself would have run it


class TestStrings:
    @pytest.mark.parametrize("protocol", [3, 4, 5])
    @pytest.mark.parametrize("names", [NAMES, ["one"], ["twice", "twice"], ["w" * 300] * 300, []])
    def test_are_those_that_were_pickled(self, names: list[str], protocol: int) -> None:
        array = np.empty(len(names), dtype=object)
        array[:] = names
        assert strings_of(pickle.dumps(array, protocol=protocol)) == names

    def test_of_numpy_1_are_read(self) -> None:
        """numpy 1 writes another module's name."""
        pickled = pickle.dumps(np.array(NAMES, dtype=object), protocol=3)
        old = pickled.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
        assert strings_of(old) == NAMES

    @pytest.mark.parametrize(
        "pickled",
        [
            b"",
            b"\x80\x03.",
            pickle.dumps(["red"]),
            pickle.dumps("red"),
            pickle.dumps(Path("red")),
            pickle.dumps(np.array([1.5])),
            pickle.dumps({"red": 1}),
            pickle.dumps(np.array(["red"], dtype=object), protocol=4)[:-5],
            b"cos\nsystem\n(S'true'\ntR.",
            b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
            b"\x80\x03h\x07.",
            b"\x80\x03e.",
            b"\x80\x03R.",
        ],
    )
    def test_of_anything_else_are_refused(self, pickled: bytes) -> None:
        kinds = "no array of strings|no strings|another|not that of|pickle|opcode|need"
        with pytest.raises(ValueError, match=kinds):
            strings_of(pickled)

    def test_an_endless_shape_is_not_printed(self) -> None:
        """Pairs of the same pair, two dozen deep: 2^24 entries in a hundred bytes."""
        pickled = pickle.dumps(np.array(["red"], dtype=object), protocol=3)
        nested = b"N" + b"".join(b"q%ch%c\x86" % (99 + i, 99 + i) for i in range(24))
        assert pickled.count(b"K\x01K\x01\x85") == 1
        with pytest.raises(ValueError, match="whose shape is not that of its entries"):
            strings_of(pickled.replace(b"K\x01K\x01\x85", b"K\x01" + nested))
