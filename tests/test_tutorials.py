"""Scripts beside the notebook: they run as written, and say what the page says that they do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scripts import load_script
from tiny_models import write_classifier, write_worded_clip
from toys import normal

from captum_sing import LinearTranslator, load_encoder

POINTING = load_script("pointing_game")
PIXELS = load_script("ignored_pixels")


OWN, OTHER = "own cell", "next cell"


def means(name: str, factor: str, count: int) -> dict[str, dict[str, float]]:
    rows = POINTING.point(name, factor, count, 3, ["LayerEvidence", "Grad-CAM"])
    return {
        row["method"]: {
            key: float(row[key].nanmean()) for key in (OWN, OTHER, "class") if key in row
        }
        for row in rows
    }


class TestPointingGame:
    """Share of relevance inside the true mask over its share of the area; 1 is uniform."""

    @pytest.mark.parametrize(
        ("architecture", "factor"),
        [
            ("resnet", "background"),
            *(
                pytest.param(architecture, factor, marks=pytest.mark.slow)
                for architecture, factor in (
                    ("resnet", "color"),
                    ("convnext", "color"),
                    ("convnext", "background"),
                )
            ),
        ],
    )
    def test_a_planted_word_points(self, architecture: str, factor: str) -> None:
        found = means(f"{architecture}/neck_{factor}", factor, 48)
        for method in ("LayerEvidence", "Grad-CAM"):
            assert found[method][OWN] >= 1.5
            assert found[method][OWN] > 1.5 * found["Grad-CAM"]["class"]
            assert found[method][OTHER] < 0.8

    @pytest.mark.parametrize(
        "factor", ["color", pytest.param("background", marks=pytest.mark.slow)]
    )
    def test_what_is_not_planted_does_not(self, factor: str) -> None:
        found = means("resnet/neck_none", factor, 48)
        assert all(0.7 < found[method][cell] < 1.4 for method in found for cell in (OWN, OTHER))

    def test_the_table(self) -> None:
        case = [("convnext/neck_color", "color")]
        table = POINTING.table_of(case, 4, 1, ["LayerEvidence", "Grad-CAM"])
        assert list(table["method"]) == ["LayerEvidence", "Grad-CAM"]
        assert table["planted"].tolist() == ["yes", "yes"] and table["class"][0] == ""
        assert table[OWN].str.fullmatch(r"\d+\.\d\d \[\d+\.\d\d, \d+\.\d\d\]").all()
        assert table.to_markdown(index=False).count("\n") == 3

    def test_what_is_at_most_is_reached_by_the_mask(self) -> None:
        mosaics = POINTING.sample_mosaics(6, 2, "color")
        own = POINTING.concentrations(mosaics, mosaics.masks.transpose(0, 1) - 0.999)
        (row,) = POINTING.point("resnet/neck_color", "color", 6, 2, ["LayerEvidence"])
        assert row["at most"] == pytest.approx(float(own.mean()), rel=0.05)


class TestIgnoredPixels:
    def run(self, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
        monkeypatch.setattr("sys.argv", ["ignored_pixels.py", *map(str, arguments)])
        PIXELS.main()

    def test_the_embedded_world(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        output = tmp_path / "figure.png"
        self.run(monkeypatch, "--steps", 4, "--output", output)
        assert "What the head ignores points at blue" in capsys.readouterr().out
        assert np.asarray(Image.open(output)).std() > 10

    def test_the_figure_shows_what_it_says(self) -> None:
        asked = PIXELS.of_the_demo()
        figure = PIXELS.explain(asked, steps=4)
        titles = [axes.get_title() for axes in figure.axes[:3]]
        assert titles == ["the image", "why star", "where blue is ignored"]
        words = [label.get_text() for label in figure.axes[3].get_yticklabels()]
        assert words[0] == "blue"
        shown = [np.asarray(axes.images[-1].get_array()) for axes in figure.axes[1:3]]
        assert not np.allclose(*shown, atol=0.05)

    def test_a_photograph(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """With local files in the place of what a hub would give."""
        write_classifier(tmp_path / "vit", "ViT")
        encoder = f"local-dir:{write_worded_clip(tmp_path / 'clip')}"
        width = load_encoder(encoder).embedding_dim
        bare = LinearTranslator(normal(width, 16, seed=1), torch.zeros(16), torch.zeros(width))
        translator = bare.with_statistics(normal(100, 16, seed=2), normal(100, width, seed=3))
        saved = translator.save(tmp_path / "translator.safetensors")
        photo = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(photo).save(tmp_path / "photo.jpg")
        written = tmp_path / "figure.png"
        arguments = ["--model", tmp_path / "vit", "--translator", saved, "--encoder", encoder,
                     "--concepts", "colors", "--steps", 3, "--output", written]  # fmt: skip
        self.run(monkeypatch, tmp_path / "photo.jpg", *arguments)
        assert "What the head ignores points at" in capsys.readouterr().out
        assert written.is_file()
        with pytest.raises(SystemExit):
            self.run(monkeypatch, tmp_path / "photo.jpg")
        assert "a photograph wants --model, --translator and --encoder" in capsys.readouterr().err


def test_maps_are_compared() -> None:
    script = load_script("compare_maps")
    summary = script.summary_of("resnet/neck_color", 6, 2)
    assert list(summary.index) == list(script.NUMBERS)
    assert summary.shape[1] == 2 and all(": " in column for column in summary)
    assert summary.map(lambda cell: cell.count("[") == 1 and "nan" not in cell).all(axis=None)
