"""cfg text: grammar, typed values, messages, and bytes of every kind."""

import time
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from yolo import cfg
from yolo.cfg import CfgError, CfgWarning, parse
from yolo.layers import LAYERS
from yolo.layers.layer import MAX_PARAMETERS
from yolo.network import Network

NET = "[net]\nwidth=32\nheight=32\nchannels=3\n"


def section(text, **how):
    return parse(f"[conv]\n{text}", "a.cfg", **how)[0]


def test_lines_of_every_kind():
    text = "\ufeff# comment\n; comment\n\n[ net ] # why\r\n a b = 1 \r\n\t[route]\nlayers = -1, 2\n"
    net, route = parse(text)
    assert (net.name, net.line, route.name, route.line) == ("net", 4, "route", 6)
    assert net.items() == [("ab", "1")]
    assert route.ints("layers") == [-1, 2]


def test_a_zero_byte_ends_the_line():
    assert section("size=3\0 stride=2").int("size") == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ":1: has no section"),
        ("# nothing\n", ":1: has no section"),
        ("a=1\n[net]", ":1: 'a=1' stands before the first section"),
        ("[net]\n[conv\n", r":2: section '\[conv' has no closing bracket"),
        ("[net] x\n", ":1: section .* has text after its bracket"),
    ],
)
def test_text_that_is_no_cfg(text, words):
    with pytest.raises(CfgError, match="a.cfg" + words):
        parse(text, "a.cfg")


@pytest.mark.parametrize(
    ("value", "number"),
    [("40", 40), ("+3", 3), ("-2", -2), ("0x10", 0), ("40 #32", 40), ("1.9", 1), ("1e3", 1)],
)
@pytest.mark.filterwarnings("ignore::yolo.cfg.CfgWarning")
def test_whole_numbers_as_darknet_reads_them(value, number):
    assert section(f"k={value}").int("k") == number


@pytest.mark.parametrize(
    ("value", "number"),
    [(".1", 0.1), ("1e-4", 1e-4), ("-2.5E2", -250), ("3.", 3), ("0.5 # half", 0.5), ("7", 7)],
)
def test_numbers(value, number):
    assert section(f"k={value}").float("k") == number


@pytest.mark.parametrize("value", ["abc", "true", "-", ".", "#3", "nan", "inf", "1e999"])
def test_what_is_no_number(value):
    with pytest.raises(CfgError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        section(f"k={value}").float("k")


def test_text_after_a_number_is_told():
    with pytest.warns(CfgWarning, match=r"a.cfg:2: \[conv\] k='1.9' is read as '1'"):
        section("k=1.9").int("k")


def test_bounds():
    with pytest.raises(CfgError, match=r"a.cfg:2: \[conv\] k='0' must be at least 1"):
        section("k=0").int("k", minimum=1)
    with pytest.raises(CfgError, match="must be at most 5"):
        section("k=6").int("k", maximum=5)
    with pytest.raises(CfgError, match="at most 2147483647"):
        section("k=" + "9" * 10_000).int("k")


def test_lists():
    s = section("a=1,2 , 3 # , 4\nb=.1,5e-1\nc=10 13")
    assert s.ints("a") == [1, 2, 3] and s.floats("b") == [0.1, 0.5] and s.ints("d", None) is None
    with pytest.raises(CfgError, match="a comma is missing, or a blank"):
        s.ints("c")
    with pytest.warns(CfgWarning, match="empty element"):
        assert section("a=-1,").ints("a") == [-1]


def test_words():
    s = section("a=leaky # x\nb=lekay\nc=my file.names")
    assert s.choice("a", ("leaky", "relu")) == "leaky"
    assert s.choice("z", ("leaky", "relu"), "relu") == "relu"
    assert s.string("c") == "my file.names"
    with pytest.raises(CfgError, match=r":3: \[conv\] b='lekay' .* did you mean 'leaky'"):
        s.choice("b", ("leaky", "relu"))


def test_yes_and_no():
    s = section("a=1\nb=0\nc=2")
    assert s.bool("a") and not s.bool("b") and s.bool("c") and s.bool("d", True)


def test_a_required_key():
    with pytest.raises(CfgError, match=r"a.cfg:1: \[conv\] needs the key 'from'"):
        section("a=1").ints("from")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("k=", "'k' has no value and is ignored"),
        ("k", "'k' has no '=' and is ignored"),
        ("k=1\nk=2", ":3: .* 'k' is set again; line 2 counts"),
    ],
)
def test_lines_without_effect_are_told(text, words):
    with pytest.warns(CfgWarning, match=words):
        s = section(text)
    assert s.int("k", 1) == 1
    with pytest.raises(CfgError, match=words):
        section(text, strict=True)


def test_unknown_keys_name_the_nearest():
    s = section("stirde=2\nfilters=3\nzzz=1")
    s.int("stride", 1), s.int("filters"), s.ignore("pad")
    assert s.unknown() == [("stirde", 2, "stride"), ("zzz", 4, None)]


def test_unknown_keys_in_a_network():
    text = NET + "hieght=3\n[conv]\nfilters=2\nstirde=2\n"
    with pytest.warns(CfgWarning) as caught:
        Network(parse(text, "a.cfg"))
    said = [str(w.message) for w in caught]
    assert said == [
        "a.cfg:5: [net] has no key 'hieght'; did you mean 'height'?",
        "a.cfg:8: [conv] has no key 'stirde'; did you mean 'stride'?",
    ]
    with pytest.raises(CfgError, match="did you mean 'height'"):
        Network(parse(text, "a.cfg", strict=True))


def test_many_warnings_are_cut_short():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        parse("[net]\n" + "k\n" * 1000)
    assert len(caught) == cfg.MAX_WARNINGS + 1
    assert "more warnings are left out" in str(caught[-1].message)


def test_set_and_dump():
    sections = parse(NET + "[conv]\nfilters=3 # three\n", "a.cfg")
    sections[0].set("width", 64)
    sections[1].set("size", 5)
    again = parse(cfg.dump(sections))
    assert again[0].int("width") == 64
    assert again[1].items() == [("filters", "3"), ("size", "5")]


def test_read(tmp_path):
    path = tmp_path / "n.cfg"
    path.write_bytes(NET.replace("\n", "\r\n").encode() + b"[conv]\r\n# \xff\xfe caf\xe9\r\n")
    assert cfg.read(path)[0].int("width") == 32
    path.write_bytes(b"#" * (cfg.MAX_BYTES + 1))
    with pytest.raises(CfgError, match="more than"):
        cfg.read(path)
    with pytest.raises(FileNotFoundError):
        cfg.read(tmp_path / "absent.cfg")


def test_published_networks_are_read_without_a_word(shared):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in sorted((shared / "data" / "weights").glob("*.cfg")):
            Network(cfg.read(path))


def build(text):
    """A network or None; fails on any other end, and on taking too long."""
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            net = Network(parse(text))
            assert sum(p.numel() for p in net.parameters()) <= MAX_PARAMETERS
        except CfgError as error:
            net = None
            assert str(error).startswith("<cfg>:")
    assert time.process_time() - start < 2
    return net


HOSTILE = {
    "many layers": NET + "[conv]\nbatch_normalize=1\nfilters=3\n" * 1400,
    "many sections": "[a]\n" * 130_000,
    "many keys": NET + "[conv]\n" + "".join(f"k{i}=1\n" for i in range(45_000)),
    "one key": NET + "[conv]\n" + "k=1\n" * 130_000,
    "no values": NET + "[conv]\n" + "k\n" * 200_000,
    "a long key": NET + "[conv]\n" + "a" * 500_000 + "=1",
    "a long number": NET + "[conv]\nfilters=" + "9" * 500_000,
    "a long word": NET + "[conv]\nactivation=" + "leaky" * 100_000,
    "a long name": NET + "[" + "conv" * 100_000 + "]",
    "many blanks": NET + "[conv]\nfilters=1" + " " * 450_000 + "2",
    "filters": NET + "[conv]\nfilters=1000000000",
    "output": NET + "[connected]\noutput=2147483647",
    "size": NET + "[conv]\nsize=2147483647\npad=1",
    "padding": NET + "[conv]\npadding=2147483647",
    "pool": NET + "[maxpool]\nsize=2147483647",
    "stride": NET + "[upsample]\nstride=2147483647",
    "doubling": NET + "[conv]\n" + "[upsample]\n" * 60,
    "image": "[net]\nwidth=2147483647\nheight=2147483647\nchannels=2147483647\n[conv]\n",
    "anchors": NET + "[conv]\nfilters=6\n[yolo]\nclasses=1\nanchors=" + "1," * 200_000,
    "mask": NET + "[conv]\nfilters=6\n[yolo]\nclasses=1\nmask=" + "0," * 200_000,
    "classes": NET + "[conv]\nfilters=6\n[yolo]\nclasses=2147483647",
    "sources": NET + "[conv]\n[route]\nlayers=" + "0," * 200_000,
    "sources in place": NET + "[dropout]\n" * 1200 + "[route]\nlayers=" + "0," * 200_000,
    "doubled channels": NET + "[conv]\n" + "[route]\nlayers=-1,-1\n" * 100,
    "steps": NET + "policy=steps\nsteps=" + "1," * 200_000 + "\n[conv]\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_ends_quickly(name):
    build(HOSTILE[name])


def test_a_layer_beyond_the_limit_is_refused_with_its_line():
    with pytest.raises(CfgError, match=r"a.cfg:5: \[conv\] needs 4,000,000,000 parameters"):
        Network(parse(NET + "[conv]\nfilters=1000000000", "a.cfg"))


KEYS = st.sampled_from(
    [
        *("filters", "size", "stride", "pad", "padding", "groups", "activation", "layers", "from"),
        *("batch_normalize", "mask", "anchors", "classes", "num", "output", "probability"),
        *("group_id", "reverse", "width", "height", "channels", "batch", "subdivisions"),
    ]
)
VALUES = st.one_of(
    st.integers(-3, 40).map(str),
    st.integers().map(str),
    st.floats(allow_nan=True).map(str),
    st.sampled_from(["leaky", "linear", "-1,-2", "0,1,2", "10,13, 16,30", "1e9", "", "x"]),
    st.text(max_size=8),
)
SECTIONS = st.sampled_from([*LAYERS, "net", "lstm", "convolutionl"])
LAYER_TEXT = st.tuples(SECTIONS, st.lists(st.tuples(KEYS, VALUES), max_size=5)).map(
    lambda s: f"[{s[0]}]\n" + "".join(f"{key}={value}\n" for key, value in s[1])
)
fuzz = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


@fuzz
@given(st.binary(max_size=300))
def test_any_bytes(data):
    build(data.decode("utf-8", errors="replace"))


@fuzz
@given(st.lists(LAYER_TEXT, max_size=8))
def test_any_sections(layers):
    build(NET + "".join(layers))


SHIPPED = (Path(__file__).parents[1] / "cfg" / "yolov4-tiny.cfg").read_text()


@fuzz
@given(st.data())
def test_a_shipped_network_with_a_fault(data):
    """One line of it replaced by something else."""
    lines = SHIPPED.split("\n")
    at = data.draw(st.integers(0, len(lines) - 1))
    key = lines[at].partition("=")[0]
    lines[at] = data.draw(st.one_of(st.text(max_size=12), VALUES.map(lambda v: f"{key}={v}")))
    build("\n".join(lines))
