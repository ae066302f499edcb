"""A study: one row an image, and what that says of classes and of the model, with controls."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captum_sing.errors import SINGFileError, expected
from captum_sing.files import made, write_whole
from captum_sing.study.judging import beyond_judgements, group_judgements
from captum_sing.study.labels import groups_with_evidence
from captum_sing.study.naming import name_judgements
from captum_sing.study.presence import image_judgements
from captum_sing.study.sharing import share_judgements
from captum_sing.study.statistics import MODEL, angle_statistics, word_statistics
from captum_sing.study.table import tested_rows
from captum_sing.study.words import word_judgements

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Study"]

_FORMAT = 2
_KEYS = ("level", "group")
_KEY = "captum_sing"
_TABLE, _FACTS = "table.parquet", "study.json"


@dataclass(frozen=True, eq=False)
class Study:
    """What a head ignores in a collection of images, as :func:`run_study` finds it.

    Everything but the table is made from it when first asked for, with seeds: a study that was
    saved and loaded says the same. Images that the translator was fitted on, and repeated ones,
    are in the table, and in nothing else.

    Attributes:
        table (pandas.DataFrame): a row a usable image:

            - ``path``; ``label`` and ``prediction``, names of classes; ``in_sample``, whether the
              translator was fitted on it; ``repeated``, whether an earlier one is the same;
            - ``image_score``, ``attribute_score`` (for the label, where that is a word) and
              ``null_energy`` of the paper's null removal, and with ``mean_``, ``conditional_`` or
              ``swap_`` before the name those of the other baselines;
            - ``angle_red`` and ``attribute_score_red``: between T(f) and that word, degrees, and
              the paper's AS of the word;
            - ``seen_red`` and ``ignored_red``: evidence for that word, about the mean feature,
              and with ``conditional_`` or ``swap_`` before the name about other baselines;
            - ``own_color``: the word of a group that the image has, where that is known, and
              ``named_color_seen``: the word it is given; see
              :data:`captum_sing.study.scoring.SOURCES`;
            - ``beyond_color``: what the ignored part tells of the own word beyond what is seen; see
              :func:`captum_sing.study.beyond.partial_out`.
        facts (dict): what it was made of, as JSON holds it: the names of ``model`` and
            ``encoder``, ``nullity``, ``rank`` and ``width``, ``isotropic_image_score``,
            ``baselines``, ``groups`` and ``words``, the ``unit`` of evidence (see
            :func:`captum_sing.evidence.split_evidence`), the translator's quality on held-out
            images, ``not_held_out``, why there are no stars,
            ``unusable`` pictures with the reason, ``notes``, ...
    """

    table: pd.DataFrame
    facts: dict[str, Any]

    @cached_property
    def statistics(self) -> pd.DataFrame:
        """IS, AS and null energy by level and baseline.

        See :func:`captum_sing.study.statistics.angle_statistics`. Angles are reported as the paper
        defines them, and never starred.
        """
        return angle_statistics(self.table, self.facts["baselines"], **self._drawing)

    @cached_property
    def words(self) -> pd.DataFrame:
        """Evidence by level and word; see :func:`captum_sing.study.statistics.word_statistics`."""
        return word_statistics(self.table, groups_with_evidence(self.facts, whole=False))

    @cached_property
    def word_tests(self) -> pd.DataFrame:
        """Words with labels, tested; see :func:`captum_sing.study.words.word_judgements`."""
        return self._told(word_judgements(self.table, groups_with_evidence(self.facts)))

    @cached_property
    def groups(self) -> pd.DataFrame:
        """Groups by level, tested; the answer to each question in a row.

        The columns of :func:`captum_sing.study.judging.group_judgements`; those of :attr:`shares`
        as ``share``, and ``share_low``, ``share_p``, ...; and those of :attr:`beyond` as
        ``beyond``, ``beyond_low``, ..., where there is such a test of any group.
        """
        groups = self._told(group_judgements(self.table, groups_with_evidence(self.facts)))
        shares = self.shares[self.shares["word"].isna()] if len(self.shares) else self.shares
        groups = _beside(groups, shares.drop(columns=["word", "n"], errors="ignore"), "share")
        return _beside(groups, self.beyond, "beyond")

    @cached_property
    def shares(self) -> pd.DataFrame:
        """Ignored shares; see :func:`captum_sing.study.sharing.share_judgements`."""
        return self._told(
            share_judgements(self.table, groups_with_evidence(self.facts), self.facts)
        )

    @cached_property
    def beyond(self) -> pd.DataFrame:
        """The partialled test; see :func:`captum_sing.study.judging.beyond_judgements`."""
        return self._told(
            beyond_judgements(self.table, groups_with_evidence(self.facts), self.facts)
        )

    @cached_property
    def naming(self) -> pd.DataFrame:
        """Names by level; see :func:`captum_sing.study.naming.name_judgements`."""
        return self._told(name_judgements(self.table, self.facts["groups"]))

    @cached_property
    def image_tests(self) -> pd.DataFrame:
        """Words that the ignored part of single images points at, tested.

        See :func:`captum_sing.study.presence.image_judgements`.
        """
        found = image_judgements(self.table, groups_with_evidence(self.facts, whole=False))
        return found.assign(starred="") if self.facts.get("not_held_out") else found

    @property
    def tested(self) -> pd.DataFrame:
        """The rows that anything is said from; see :func:`captum_sing.study.table.tested_rows`."""
        return self.table[tested_rows(self.table)]

    @property
    def in_sample(self) -> int:
        """How many images the translator was fitted on."""
        return int(self.table["in_sample"].sum())

    def __len__(self) -> int:
        return len(self.table)

    def __str__(self) -> str:
        facts, statistics = self.facts, self.statistics
        first = statistics[statistics["level"] == MODEL].iloc[0]
        lines = [
            f"{facts['model']}: {len(self)} images, {self.in_sample} of which the translator was "
            f"fitted on; {facts['nullity']} of {facts['width']} directions are ignored",
            f"IS {first['mean']:.1f} degrees ({facts['isotropic_image_score']:.1f} if all "
            "directions were alike)",
        ]
        groups = self.groups
        for row in groups[groups["level"] == MODEL].to_dict("records") if len(groups) else ():
            share, test = row["share_note"], row["note"]
            if row["share"] == row["share"]:
                share = (
                    f"{row['share']:.2f} [{row['share_low']:.2f}, {row['share_high']:.2f}] of its "
                    f"signal is ignored, {row['chance']:.2f} by chance"
                )
            if row["z"] == row["z"]:
                star = " *" if row["starred"] else f" ({test})" if isinstance(test, str) else ""
                test = f"z = {row['z']:.1f}, q = {row['q']:.2g}{star}"
            lines.append(f"{row['group']}: {share}; {test}")
        return "\n".join([*lines, *facts["notes"]])

    def to_dict(self) -> dict[str, Any]:
        """The facts, and every level, in the types that JSON holds; None where no number is."""
        frames = {
            "statistics": self.statistics,
            "words": self.words,
            "word_tests": self.word_tests,
            "groups": self.groups,
            "shares": self.shares,
            "naming": self.naming,
        }
        infinite = [math.inf, -math.inf]
        records = {
            name: frame.astype(object)
            .where(frame.notna() & ~frame.isin(infinite), None)
            .to_dict("records")
            for name, frame in frames.items()
        }
        return {**self.facts, "images": len(self), "in_sample": self.in_sample, **records}

    def save(self, folder: str | Path) -> Path:
        """Write ``table.parquet``, which is the study, and ``study.json``, which is for others.

        Both are there whole or not at all; :meth:`load` reads the first alone.

        Args:
            folder (str or Path): it is made; a study in it is replaced.

        Returns:
            Path: the folder.

        Raises:
            SINGFileError: it cannot be written.
        """
        text = json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"
        table = self.table.copy(deep=False)
        table.attrs = {_KEY: {"format": _FORMAT, "facts": self.facts}}
        folder = made(folder)
        try:
            write_whole(folder / _TABLE, table.to_parquet)
            write_whole(folder / _FACTS, lambda path: path.write_text(text, encoding="utf-8"))
        except SINGFileError:
            raise
        except OSError as error:
            raise SINGFileError(
                expected(
                    "Study.save",
                    "folder",
                    "that can be written, with room for the study",
                    f"{folder} ({error})",
                    "Make room, or name another one",
                )
            ) from error
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> Study:
        """Read what :meth:`save` wrote.

        Raises:
            SINGFileError: the table is missing, damaged, or none of a study.
        """
        import pandas as pd

        path = Path(folder) / _TABLE
        try:
            table = pd.read_parquet(path, engine="pyarrow")
        except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
            actual = f"{path} ({error})" if path.exists() else f"{path}, which does not exist"
            raise SINGFileError(
                expected("Study.load", "folder", "with a whole study", actual, "Make it again")
            ) from error
        stored = table.attrs.pop(_KEY, {})
        if stored.get("format") != _FORMAT:
            raise SINGFileError(
                expected(
                    "Study.load",
                    "folder",
                    "with the table of a study",
                    f"{path}, which is none, or of another version",
                    "Pass the folder that Study.save wrote",
                )
            )
        table["label"] = table["label"].astype("category")  # a file forgets that of no labels
        return cls(table, stored["facts"])

    def _told(self, frame: pd.DataFrame) -> pd.DataFrame:
        """No stars where it is not known whether the translator was fitted on these images."""
        reason = self.facts.get("not_held_out")
        if not reason or not len(frame):
            return frame
        return frame.assign(starred=False, note=frame["note"].fillna(f"no star: {reason}"))

    @property
    def _drawing(self) -> dict[str, int]:
        return {"draws": self.facts["draws"], "seed": self.facts["seed"]}


def _beside(rows: pd.DataFrame, others: pd.DataFrame, name: str) -> pd.DataFrame:
    """Two frames by level and group as one; the second's value is ``name``, the rest follow it."""
    if not len(rows) or not len(others):
        return rows
    plain = {"share": "share", "mean": name, "chance": "chance"}
    named = {key: plain.get(key, f"{name}_{key}") for key in others if key not in _KEYS}
    joined = rows.merge(others.rename(columns=named), on=list(_KEYS), how="left")
    note = joined[f"{name}_note"].astype(object)
    said = {f"{name}_starred": joined[f"{name}_starred"].eq(True)}
    return joined.assign(**said, **{f"{name}_note": note.where(note.notna(), None)})
