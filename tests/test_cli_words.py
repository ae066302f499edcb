"""Words from vocabularies, files and banks; what is wrong in a file is told by its place."""

from __future__ import annotations

import json

import pytest
import torch
from command import EMBEDDING, GROUPS, WIDTH, WORDS

from captum_sing import ConceptBank, TranslatorFitter
from captum_sing.classifiers import find_classifier
from captum_sing.cli.word_files import read_words
from captum_sing.cli.words import EVERYDAY, load_meaning, read_concepts
from captum_sing.errors import SINGFileError, SINGNameError, SINGValueError
from captum_sing.vocabularies import Vocabulary, load_vocabulary


def written(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


CSV = (
    "word,group\nred,color\n green ,color\nblue,color\nbeach,place\nforest,place\n"
    "sky,words\nsea,words\n"
)
JSON = json.dumps(GROUPS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", WORDS),
        ("a.TXT", WORDS),
        ("a.txt", WORDS.replace("\n", "\r\n")),
        ("a.txt", "\ufeff" + WORDS),
        ("a.txt", "color: red,, green ,blue,\n sky\nplace:beach,forest\nsea"),
        ("a.csv", CSV),
        ("a.CSV", "\ufeff" + CSV.replace("\n", "\r\n")),
        ("a.csv", CSV.replace(",", ";")),  # as a German Excel writes it
        ("a.tsv", CSV.replace(",", "\t")),
        ("a.csv", CSV.replace(",", "\t")),
        ("a.csv", CSV.replace("word,group", " Group ,note,WORD").replace("red,color", "color,x,red")
         .replace(" green ,color", "color,,green").replace("blue,color", 'color,"a, b",blue')
         .replace("beach,place", "place,,beach").replace("forest,place", "place,,forest")
         .replace("sky,words", "words,,sky").replace("sea,words", "words,,sea\n,,")),
        ("a.json", JSON),
        ("a.JSON", "\ufeff" + JSON),
        ("a.json", '{"color": ["red"], "color": ["green", " blue"], "place": ["beach", "forest"],'
                   ' "": ["sky", "sea"]}'),
    ],
)  # fmt: skip
def test_the_same_words_in_every_form(name, content, tmp_path):
    found = read_words(written(tmp_path, name, content))
    assert {group: found[group] for group in GROUPS} == GROUPS == dict(sorted(found.items()))


def test_a_list_and_lines_without_groups_form_one(tmp_path):
    for name, content in (("a.json", '["sky", "sea"]'), ("a.txt", "sky\n\nsea\n")):
        assert read_words(written(tmp_path, name, content)) == {"words": ("sky", "sea")}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        # text
        ("a.txt", "", "there is no word in it"),
        ("a.txt", " \n\n", "there is no word in it"),
        ("a.txt", "size: big, small\n\nbig", r"line 3, column 1: 'big' again, after line 1, colu"),
        ("a.txt", "size: big,  Big", r"line 1, column 13: 'Big' again, after line 1, column 7"),
        ("a.txt", "size: big\nred\nblue", r"line 1, column 7: 'big' is alone in group 'size'"),
        ("a.txt", "red\nsize:", r"line 2, column 6: no word after the colon"),
        ("a.txt", ": red, blue", r"line 1, column 3: the group is empty"),
        ("a.txt", "red\ncaf\xe9".encode("latin-1"), r"line 2, column 4: byte 0xe9 is no UTF-8"),
        ("a.txt", b"red\n\xe9", r"line 2, column 1: byte 0xe9"),
        ("a.txt", "red\nblue".encode("utf-16"), r"line 1, column 1: byte 0xff is no UTF-8, so sa"),
        ("a.txt", "word\tgroup\nred\tcolor", r"line 1, column 5: '\\t' stands in no list .*\.tsv"),
        ("a.txt", "word,group\nred,color\nblue,color", r"line 1: commas stand only after a group"),
        ("a.txt", "red, blue", "line 1: commas stand only after a group and its colon"),
        ("a.txt", JSON, r"line 1, column 1: '{' stands in no list of words.*JSON as \.json"),
        ("a.txt", "red\n - blue", r"line 2, column 1: ' -' stands in no list"),
        ("a.txt", "# colors\nred\nblue", "line 1, column 1: '#' stands"),
        ("a.txt", "http://x.y\nhttp://x.z", "line 1, column 5: '://' stands"),
        ("a.txt", "red\nbl\x0bue", r"line 2, column 3: '\\x0b' stands"),
        ("a.txt", "Color: red, blue\ncolor: green", "group 'color' is spelled 'Color' before"),
        ("a.txt", "red\n" + "b" * 5000, "line 2, column 1: 5000 letters, where 200 are the most"),
        ("a", "red\nblue", r"its ending is none of \.txt, \.csv, \.tsv, \.json"),
        ("a.yaml", "red\nblue", "its ending is none of"),
        # CSV
        ("a.csv", "", r"line 1: the header is '', without the columns word and group"),
        ("a.csv", "word,group\n", "there is no word in it"),
        ("a.csv", "red,color\nblue,color\n", r"line 1: the header is 'red,color', without"),
        ("a.csv", "word,group,word\nred,color,blue\n", "line 1: the header has the column word mo"),
        ("a.csv", "word,group\nred,color\nblue\n", r"line 3: 1 columns, where the header has 2"),
        ("a.csv", "word,group\nred, blue,color\n", r"line 2: 3 columns.* with a ',' in it stands"),
        ("a.csv", "group,word\ncolor,red\ncolor,\n", r"line 3, column 2: the word is empty"),
        ("a.csv", "word,group\nred,\nblue,\n", r"line 2, column 1: the group is empty"),
        ("a.csv", "word,group\nred,a\nblue,a\nred,b\n", r"line 4, column 1: 'red' again, after li"),
        ("a.csv", 'word,group\n"red,color\n', r"line \d: unexpected end of data"),
        ("a.csv", "word,group\ncaf\xe9,a\n".encode("latin-1"), r"line 2, column 4: byte 0xe9"),
        # JSON
        ("a.json", "{", r"line 1, column 2: Expecting property name"),
        ("a.json", '{"a": ["b",\n "c" "d"]}', r"line 2, column 6: Expecting ',' delimiter"),
        ("a.json", "[]", "there is no word in it"),
        ("a.json", "{}", "there is no word in it"),
        ("a.json", '"red"', "the list is no list of words"),
        ("a.json", '{"color": "red"}', r'\["color"\] is no list of words'),
        ("a.json", '{"color": {"red": 1}}', r'\["color"\] is no list of words'),
        ("a.json", '{"color": ["red", 1]}', r'\["color"\]\[1\]: 1 is no word'),
        ("a.json", '["red", ["blue"]]', r'word 2: \["blue"\] is no word'),
        ("a.json", '["red", ""]', r"word 2: the word is empty"),
        ("a.json", '{"c": ["red", "x"], "d": ["red", "y"]}', r'\["d"\]\[0\]: \'red\' again, after'),
        ("a.json", '{"c": ["red", "x"], "c": ["red"]}', r"'red' again"),
        ("a.json", '{"color": ["red"]}', r'\["color"\]\[0\]: \'red\' is alone in group \'color\''),
        ("a.json", "[" * 100_000, "lists in lists without end"),
        ("a.json", f"[{'9' * 5000}]", "numbers are no words: Exceeds the limit"),
        ("a.json", '["red", "\\ud800"]', r"word 2: '\\ud800' is no letter"),
        ("a.json", '["red", "bl\\u0000ue"]', r"word 2: '\\x00' is no letter"),
        ("a.json", '{"\\ud800": ["red", "blue"]}', r"'\\ud800' is no letter"),
    ],
)
def test_what_is_wrong_is_told_by_its_place(name, content, message, tmp_path):
    path = written(tmp_path, name, content)
    with pytest.raises(SINGFileError, match=rf"^read_words: expected --concepts .*{message}"):
        read_words(path)


def test_a_file_that_is_not_there(tmp_path):
    for path in (tmp_path / "a.csv", tmp_path / "b" / "a.json"):
        with pytest.raises(SINGFileError, match=rf"got {path}: No such file or directory\. Write"):
            read_words(path)
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(SINGFileError, match="Is a directory"):
        read_words(tmp_path / "folder.txt")


class TestConcepts:
    def test_none_are_the_attributes(self):
        assert read_concepts([]) == load_vocabulary(EVERYDAY)

    @pytest.mark.parametrize(
        "given", [["colors,seasons"], ["colors", "seasons"], ["colors , seasons"]]
    )
    def test_vocabularies_are_named(self, given):
        assert read_concepts(given) == load_vocabulary(["colors", "seasons"])

    def test_a_file_stands_beside_a_vocabulary(self, tmp_path):
        path = written(tmp_path, "a.txt", "animal: cat, dog\ncolor: ultramarine, vermilion")
        found = read_concepts(["colors", str(path)])
        colors = load_vocabulary("colors")
        assert isinstance(found, Vocabulary)
        assert found.groups["animal"] == ("cat", "dog")
        assert found.groups["color"] == (*colors.groups["color"], "ultramarine", "vermilion")
        assert found.prompts["red"] == colors.prompts["red"]
        assert found.prompts["cat"] == ("cat", "a photo of a cat.", "an image of a cat.")

    def test_a_word_in_two_of_them_is_refused(self, tmp_path):
        path = written(tmp_path, "a.txt", "red\ncyan")
        with pytest.raises(SINGValueError, match=rf"each word once, got \['red'\] again in {path}"):
            read_concepts(["colors", str(path)])

    def test_a_bank_stands_alone(self, place):
        bank = place / "bank.safetensors"
        assert isinstance(read_concepts([str(bank)]), ConceptBank)
        with pytest.raises(SINGValueError, match=rf"{bank} alone, for it holds embeddings, got 2"):
            read_concepts(["colors", str(bank)])

    def test_neither_file_nor_vocabulary(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        for given, named in (
            ("colours", r"'colours'\. The nearest is colors"),
            ("colors,x,y", r"'x', 'y'\. Check the path"),
            ("", r"''\. Check"),
        ):
            with pytest.raises(SINGNameError, match=rf"attributes, imagenet, .*, got {named}"):
                read_concepts([given])
        (tmp_path / "colors").mkdir()  # a folder of that name is not meant
        assert read_concepts(["colors"]) == load_vocabulary("colors")


class TestMeaning:
    def test_a_demo_model_takes_other_words_in_its_own_grammar(self, tmp_path):
        source = find_classifier("demo/resnet/neck_color")
        whole = load_meaning(source, None).concepts
        path = written(tmp_path, "a.txt", "color: red, blue\n")
        bank = load_meaning(source, None, [str(path)]).concepts
        rows = whole.indices(["red", "blue"])
        assert torch.allclose(bank.embeddings, whole.embeddings[rows], atol=1e-5)
        path = written(tmp_path, "a.txt", "red\ncrimson\n")
        with pytest.raises(SINGValueError, match="got 'crimson'"):
            load_meaning(source, None, [str(path)])

    def test_a_recorded_tag_is_the_encoder(self, place):
        """Its name is taken from the translator; offline its weights are missing."""
        made = TranslatorFitter(encoder="open_clip/ViT-B-32-quickgelu/openai")
        made.update(torch.randn(9, WIDTH), torch.randn(9, EMBEDDING)).fit().save(place / "tagged")
        source = find_classifier(str(place / "model"))
        with pytest.raises(SINGFileError, match="ViT-B-32-quickgelu with openai"):
            load_meaning(source, place / "tagged", [str(place / "words.txt")])

    def test_a_recorded_repository_is_the_encoder_and_a_folder_is_not(self, place):
        source = find_classifier(str(place / "model"))
        for name, error, message in (
            ("transformers/nobody/nothing@1234", SINGFileError, "nobody/nothing"),
            ("transformers/folder@1234", SINGValueError, "of the translator, transformers/folder@"),
            (None, SINGValueError, "which does not record its own"),
        ):
            made = TranslatorFitter(encoder=name)
            made.update(torch.randn(9, WIDTH), torch.randn(9, EMBEDDING)).fit().save(place / "t")
            with pytest.raises(error, match=message):
                load_meaning(source, place / "t", ["colors"])

    def test_without_words_there_are_the_attributes(self, place):
        source, clip = find_classifier(str(place / "model")), f"local-dir:{place / 'clip'}"
        translator, bank, embedded = load_meaning(
            source, place / "translator.safetensors", encoder=clip
        )
        assert bank.groups == load_vocabulary(EVERYDAY).groups and embedded
        assert bank.encoder == translator.encoder

    def test_an_encoder_is_loaded_only_when_it_is_needed(self, place):
        source, bank = find_classifier(str(place / "model")), place / "bank.safetensors"
        made = TranslatorFitter().update(torch.randn(9, WIDTH), torch.randn(9, EMBEDDING)).fit()
        made.save(place / "unrecorded")
        meaning = load_meaning(source, place / "unrecorded", [str(bank)])
        assert not meaning.embedded
        with pytest.raises(SINGValueError, match="--encoder only with words"):
            load_meaning(source, place / "unrecorded", [str(bank)], "ViT-B-32:openai")

    def test_the_demos_encoder_serves_another_model(self, place):
        from captum_sing.demo import load_encoder

        made = TranslatorFitter(encoder=load_encoder().name)
        made.update(torch.randn(9, WIDTH), torch.randn(9, 64)).fit().save(place / "demo")
        source = find_classifier(str(place / "model"))
        meaning = load_meaning(source, place / "demo", encoder="demo")
        assert meaning.concepts.groups["size"] == ("small", "large")
