"""Tables as programs save them: read whole, or refused by the name of file and line."""

import pytest

from tests.support.disk import put, read
from trapline.errors import TraplineError
from trapline.preparation.listing import Reading, SiteRule

PICTURES = {f"img/{number}.jpg": "" for number in range(4)}
FEATURES = "id,filepath,Site\n0,img/0.jpg,Müller\n1,img/1.jpg,s1\n2,img/2.jpg,Müller\n3,img/3.jpg,Größe\n"
LABELS = "id,Füchse,bird\n0,1,0\n1,0,1\n2,1,0\n3,0,1\n"
ENCODINGS = ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]


def competition(folder, features=FEATURES, labels=LABELS, encoding="utf-8"):
    return put(
        folder,
        {
            **PICTURES,
            "train_features.csv": features if isinstance(features, bytes) else features.encode(encoding),
            "train_labels.csv": labels if isinstance(labels, bytes) else labels.encode(encoding),
        },
    )


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_tables_are_read_in_the_encodings_and_with_the_delimiters_of_common_programs(
    tmp_path, encoding, delimiter
):
    competition(tmp_path, FEATURES.replace(",", delimiter), LABELS.replace(",", delimiter), encoding)
    found = read(tmp_path)
    assert found.classes == ["Füchse", "bird"]
    assert found.images["site"].to_dict() == {"0": "Müller", "1": "s1", "2": "Müller", "3": "Größe"}
    assert ("code page 1252" in found.notes) == (encoding == "cp1252")


def test_excels_own_first_line_and_carriage_returns_are_no_content(tmp_path):
    competition(tmp_path, "sep=;\r\n" + FEATURES.replace(",", ";").replace("\n", "\r\n"), LABELS)
    assert read(tmp_path).images["site"].to_dict()["1"] == "s1"


def test_damaged_utf8_is_refused_with_its_line_and_not_read_as_another_encoding(tmp_path):
    competition(tmp_path, FEATURES.encode().replace("Größe".encode(), b"Gr\xf6\xdfe"))
    with pytest.raises(TraplineError, match=r"train_features\.csv: line 5: in no encoding that is certain"):
        read(tmp_path)


@pytest.mark.parametrize("content", [b",\n", b'""\n', b"sep=,\n,,\n"])
def test_a_table_whose_cells_are_all_empty_is_refused(tmp_path, content):
    competition(tmp_path, content)
    with pytest.raises(TraplineError, match=r"train_features\.csv: .*empty"):
        read(tmp_path)


def test_a_blank_of_windows_alone_is_read(tmp_path):
    competition(
        tmp_path, FEATURES.replace("Müller", "a\xa0b").replace("Größe", "s2").encode("cp1252"), LABELS
    )
    assert read(tmp_path).images["site"].to_dict()["0"] == "a b"


@pytest.mark.parametrize("content", [b"id,filepath\n\x81\x8d,\x90\n", b"id,file\0path\n1,2\n"])
def test_what_is_in_no_known_encoding_is_refused(tmp_path, content):
    competition(tmp_path, content)
    with pytest.raises(TraplineError, match=r"train_features\.csv"):
        read(tmp_path)


@pytest.mark.parametrize(
    "labels",
    [
        "id,fox,bird\n0,True,False\n1,False,True\n2,TRUE,FALSE\n3,false,true\n",
        "id;fox;bird\n0;1,0;0,0\n1;0,0;1,0\n2;1,0;0,0\n3;0,0;1,0\n",
        ",id,fox,bird\n0,0,1,0\n1,1,0,1\n2,2,1,0\n3,3,0,1\n",
        "Unnamed: 0,id,fox,bird\n17,0,1,0\n4,1,0,1\n9,2,1,0\n2,3,0,1\n",
        "id,fox,bird,\n0,1,0,\n1,0,1,\n2,1,0,\n3,0,1,\n",
        "ID,fox ,bird\n0,1.0,0.0\n1,0.0,1.0\n2,1.0,0.0\n3,0.0,1.0\n",
        "id,fox,bird,site\n0,1,0,a\n1,0,1,b\n2,1,0,c\n3,0,1,d\n",
        "id,label\n0,fox\n1,bird\n2,fox \n3,bird\n",
        "Image ID,Species\n0,fox\n1,bird\n2,fox\n3,bird\n",
    ],
    ids=[
        "booleans",
        "decimal commas",
        "index",
        "pandas index",
        "empty column",
        "blanks",
        "facts",
        "label",
        "species",
    ],
)
def test_one_hot_tables_and_columns_of_labels_are_read_right(tmp_path, labels):
    competition(tmp_path, FEATURES.replace(",Site", ",note"), labels)
    found = read(tmp_path)
    assert found.labels == {"0": "fox", "1": "bird", "2": "fox", "3": "bird"}
    assert found.quarantined == {}


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (
            "id,filepath,Site,site \n0,img/0.jpg,a,b\n",
            LABELS,
            r"two columns of one name \('Site' and 'site '\)",
        ),
        ("id,filepath,site,site\n0,img/0.jpg,a,b\n", LABELS, "two columns of one name"),
        (FEATURES, "id,bird,Bird\n0,1,0\n", r"train_labels\.csv: has two columns of one name"),
        (FEATURES, "id,fox,bird,note\n0,1,0,x\n1,0,1,y\n", r"its column 'note' is no class.*'x'"),
        (FEATURES, "id,fox,bird,\n0,1,0,x\n1,0,1,y\n", "its column 4 has no name"),
        ("id,filepath,site\n0,img/0.jpg,a,b\n", LABELS, "line 2 has 4 cells, its header 3"),
        ('id,filepath,site\n0,img/0.jpg,"a\n1,img/1.jpg,b\n', LABELS, "not a readable CSV.*quotes"),
        ("\n\n", LABELS, "it is empty"),
        ("id,where,site\n0,img/0.jpg,a\n", LABELS, r"no column filepath \(its columns: id, where, site\)"),
    ],
)
def test_what_cannot_be_read_for_certain_is_refused_by_name(tmp_path, features, labels, message):
    competition(tmp_path, features, labels)
    with pytest.raises(TraplineError, match=message) as refusal:
        read(tmp_path)
    assert len(str(refusal.value).splitlines()) == 1


def label_table(folder, cells, columns="ImageID,Labels"):
    rows = [f'{number}.jpg,"{cell}"' for number, cell in enumerate(cells)]
    return put(
        folder, {**{f"data/{n}.jpg": "" for n in range(len(cells))}, "all.csv": "\n".join([columns, *rows])}
    )


LABEL_CELLS = {
    "blanks": (["1 2", "2", "3"], [{"1", "2"}, {"2"}, {"3"}]),
    "commas": (["1,2", "2", "3"], [{"1", "2"}, {"2"}, {"3"}]),
    "commas and blanks": (["1, 2", "2", "3,1"], [{"1", "2"}, {"2"}, {"1", "3"}]),
    "some of both, numbers": (["1 2", "2,3", "3"], [{"1", "2"}, {"2", "3"}, {"3"}]),
    "bars": (["fox|owl", "owl", "fox"], [{"fox", "owl"}, {"owl"}, {"fox"}]),
    "names with blanks": (["red fox|owl", "owl", "red fox"], [{"red fox", "owl"}, {"owl"}, {"red fox"}]),
    "semicolons": (["fox; owl", "owl;", "fox"], [{"fox", "owl"}, {"owl"}, {"fox"}]),
    "no-break space": (["1\u00a02", "2", "3"], [{"1", "2"}, {"2"}, {"3"}]),
    "points": (["1.0 2.0", "1 2", "3"], [{"1", "2"}, {"1", "2"}, {"3"}]),
    "lists": (["['fox', 'owl']", '[""red fox""]', "[]"], [{"fox", "owl"}, {"red fox"}, set()]),
    "case": (["Fox", "fox", "fox owl"], [{"fox"}, {"fox"}, {"fox", "owl"}]),
}


@pytest.mark.parametrize(("cells", "expected"), LABEL_CELLS.values(), ids=LABEL_CELLS.keys())
def test_labels_of_one_cell_are_divided_as_the_column_divides_them(tmp_path, cells, expected):
    label_table(tmp_path, cells)
    found = read(tmp_path)
    assert [{found.classes[label] for label in labels} for labels in found.images["labels"]] == expected


@pytest.mark.parametrize(
    "columns", ["ImageID,Labels", "imageid,labels", "Image_ID, LABELS ", "\ufeffImageID,Labels"]
)
def test_the_columns_of_label_tables_are_known_in_any_case(tmp_path, columns):
    label_table(tmp_path, ["1 2", "2"], columns)
    assert read(tmp_path).classes == ["1", "2"]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["fox,owl", "fox|owl"], r", divides labels in line 2 \('fox,owl'\), \| in line 3"),
        (
            ["fox|owl", "fox owl", "red deer|fox"],
            "'fox owl' in line 3 would be two more, but 'red deer' in line 4",
        ),
    ],
)
def test_cells_that_may_mean_two_things_are_refused(tmp_path, cells, message):
    label_table(tmp_path, cells)
    with pytest.raises(TraplineError, match=message):
        read(tmp_path)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_label_tables_are_read_in_any_of_these_encodings(tmp_path, encoding):
    table = "ImageID;Labels\n0.jpg;Füchse Größe\n1.jpg;Füchse\n"
    put(tmp_path, {"data/0.jpg": "", "data/1.jpg": "", "all.csv": table.encode(encoding)})
    assert read(tmp_path).classes == ["Füchse", "Größe"]


def test_label_tables_with_carriage_returns_alone_are_read(tmp_path):
    put(tmp_path, {"data/0.jpg": "", "data/1.jpg": "", "all.csv": "ImageID,Labels\r0.jpg,1 2\r1.jpg,2\r"})
    assert read(tmp_path).labels == {"0.jpg": {"1", "2"}, "1.jpg": {"2"}}


def test_spreadsheets_are_named_and_not_read(tmp_path):
    put(tmp_path, {"fox/a.jpg": "", "owl/b.jpg": "", "labels.xlsx": b"PK"})
    assert "labels.xlsx: a spreadsheet, which is not read; save it as CSV" in read(tmp_path).notes


def test_a_site_table_of_windows_is_read(tmp_path):
    put(tmp_path / "raw", {"fox/ä.jpg": "", "owl/b.jpg": ""})
    table = tmp_path / "sites.csv"
    table.write_bytes("File;Location\r\nfox\\ä.jpg;Süd\r\nowl\\b.jpg;Nord\r\n".encode("cp1252"))
    found = read(tmp_path / "raw", SiteRule(csv=table))
    assert found.images["site"].to_dict() == {"fox/ä.jpg": "Süd", "owl/b.jpg": "Nord"}


def test_a_site_table_is_asked_for_sites_alone(tmp_path):
    put(tmp_path / "raw", {"fox/a.jpg": "", "owl/b.jpg": ""})
    put(tmp_path, {"sites.csv": "path,site,split\nfox/a.jpg,n,holdout\nowl/b.jpg,s,train\n"})
    found = read(tmp_path / "raw", SiteRule(csv=tmp_path / "sites.csv"))
    assert found.images["site"].to_dict() == {"fox/a.jpg": "n", "owl/b.jpg": "s"}
    assert "given" not in found.images


def test_a_table_that_says_nothing_of_the_images_is_left_and_said(tmp_path):
    put(
        tmp_path,
        {"fox/a.jpg": "", "owl/b.jpg": "", "labels.csv": "path,split\nother/x.jpg,train\n", "notes.csv": ""},
    )
    found = read(tmp_path)
    assert "labels.csv: names none of the images; not read" in found.notes
    assert found.classes == ["fox", "owl"]


def test_tables_with_a_column_of_labels_need_not_have_all_classes_each(tmp_path):
    competition(tmp_path, labels="id,label\n0,owl\n1,fox\n2,owl\n3,fox\n")
    put(tmp_path, {"more_features.csv": "id,filepath\n9,img/9.jpg\n", "img/9.jpg": "",
                   "more_labels.csv": "id,label\n9,hare\n"})  # fmt: skip
    assert read(tmp_path).labels == {"0": "owl", "1": "fox", "2": "owl", "3": "fox", "9": "hare"}


def test_classes_that_are_whole_numbers_with_and_without_a_point_are_one(tmp_path):
    competition(tmp_path, labels="id,2,2.0,1\n0,1,0,0\n1,0,0,1\n2,0,1,0\n3,0,0,1\n")
    assert read(tmp_path).labels == {"0": "2", "1": "1", "2": "2", "3": "1"}


def test_ids_are_joined_table_by_table_and_stay_exact(tmp_path):
    competition(tmp_path, labels="id,fox,owl\n0.0,1,0\n1.0,0,1\n2.0,1,0\n3.0,0,1\n")
    put(tmp_path, {"test_features.csv": "id,filepath\nx 1 ,img/9.jpg\n", "img/9.jpg": ""})
    assert read(tmp_path).labels == {"0": "fox", "1": "owl", "2": "fox", "3": "owl", "x 1 ": None}
    folder = put(
        tmp_path / "lists",
        {"data/0.jpg": "", "data/1.jpg": "", "all.csv": "ImageID,Labels\n0.jpg ,a b\n1.jpg,a\n"},
    )
    assert set(read(folder).images.index) == {"0.jpg ", "1.jpg"}


def test_folders_that_a_table_gives_other_classes_are_no_classes_but_cameras(tmp_path):
    put(tmp_path, {f"camera_{site}/{n}.jpg": "" for site in "ab" for n in range(2)})
    rows = [f"camera_{site}/{n}.jpg,{('fox', 'owl')[n]}" for site in "ab" for n in range(2)]
    put(tmp_path, {"labels.csv": "\n".join(["path,label", *rows])})
    found = read(tmp_path)
    assert found.classes == ["fox", "owl"]
    assert found.images["site"].tolist() == ["camera_a", "camera_a", "camera_b", "camera_b"]
    with pytest.raises(
        TraplineError, match=r"labels \('fox', \.\.\.\) are none of the folders.*--layout csv"
    ):
        read(tmp_path, reading=Reading(layout="class-folders"))


def test_a_sequence_that_a_program_left_open_is_none_and_a_site_of_that_name_is_said(tmp_path):
    rows = [f"{n},img/{n}.jpg,{['NA', 'a'][n % 2]},{['NA', 'NaN', 'null', 'q'][n]}" for n in range(4)]
    competition(tmp_path, "\n".join(["id,filepath,site,sequence", *rows]))
    found = read(tmp_path)
    assert found.images["sequence"].tolist() == [None, None, None, "q"]
    assert "site 'NA' is taken for a camera of that name" in found.notes


@pytest.mark.parametrize("column", ["site", "sequence", "split", "Location"])
def test_columns_of_facts_are_no_classes_though_their_cells_are_0_and_1(tmp_path, column):
    values = ["train", "val", "train", "test"] if column == "split" else [0, 0, 1, 1]
    rows = [f"{n},{n % 2},{1 - n % 2},{values[n]}" for n in range(4)]
    competition(tmp_path, FEATURES.replace(",Site", ",note"), "\n".join([f"id,fox,owl,{column}", *rows]))
    assert read(tmp_path).classes == ["fox", "owl"]
    assert read(tmp_path).quarantined == {}


def test_a_class_that_is_called_as_a_fact_might_be_is_a_class(tmp_path):
    competition(tmp_path, labels="id,fox,camera\n0,1,0\n1,0,1\n2,1,0\n3,0,1\n")
    assert read(tmp_path).classes == ["fox", "camera"]
    assert read(tmp_path).images["site"].to_dict()["1"] == "s1"


def test_a_single_column_of_labels_may_hold_numbers(tmp_path):
    competition(tmp_path, labels="id,label\n0,0\n1,1\n2,0\n3,1\n")
    assert read(tmp_path).labels == {"0": "0", "1": "1", "2": "0", "3": "1"}


def test_an_index_column_that_is_no_running_number_is_refused(tmp_path):
    competition(tmp_path, labels="Unnamed: 0,id,fox,owl\n0,0,1,0\n0,1,0,1\n0,2,1,0\n0,3,0,1\n")
    with pytest.raises(TraplineError, match="its column 1 has no name"):
        read(tmp_path)


@pytest.mark.parametrize(
    "table", ["sep=;\r\npath;site\r\nfox/a.jpg;n\r\nowl/b.jpg;s\r\n", "path,site\nfox/a.jpg,n\nowl/b.jpg,s\n"]
)
def test_a_table_beside_images_is_seen_below_excels_own_line(tmp_path, table):
    put(tmp_path, {"fox/a.jpg": "", "owl/b.jpg": "", "meta.csv": table})
    assert read(tmp_path).images["site"].to_dict() == {"fox/a.jpg": "n", "owl/b.jpg": "s"}


def test_a_table_that_begins_with_a_comment_is_refused_by_name(tmp_path):
    put(tmp_path, {"fox/a.jpg": "", "owl/b.jpg": "", "meta.csv": "# export\npath,site\nfox/a.jpg,n\n"})
    with pytest.raises(TraplineError, match=r"meta\.csv: begins with a comment"):
        read(tmp_path)


def test_an_image_named_without_suffix_is_not_guessed(tmp_path):
    put(tmp_path, {f"data/{name}": "" for name in ("a.jpg", "a.png", "b.jpg", "d.png", "d.json")})
    put(tmp_path, {"t.csv": "ImageID,Labels\na,fox\nb,owl\nd,fox\n,\n"})
    found = read(tmp_path)
    assert found.images["filepath"].to_dict() == {"b": "data/b.jpg", "d": "data/d.png"}
    assert found.quarantined == {"a": "missing"}


def test_label_lists_take_their_facts_from_another_table(tmp_path):
    put(tmp_path, {f"data/{n}.jpg": "" for n in range(3)})
    put(tmp_path, {"labels.csv": "ImageID,Labels\n0.jpg,1 2\n1.jpg,2\n2.jpg,1.0\n",
                   "meta.csv": "ImageID,site,split\n0.jpg,a,train\n1.jpg,b,val\n2.jpg,c,test\n"})  # fmt: skip
    found = read(tmp_path)
    assert found.images["site"].tolist() == ["a", "b", "c"]
    assert found.images["given"].tolist() == ["train", "val", "test"]
    assert found.quarantined == {}


def test_the_commonest_spelling_counts_over_all_tables(tmp_path):
    competition(tmp_path, labels="id,label\n0,fox\n1,owl\n2,fox\n3,fox\n")
    put(
        tmp_path,
        {
            "more_features.csv": "id,filepath\n9,img/9.jpg\n",
            "img/9.jpg": "",
            "more_labels.csv": "id,label\n9,Fox\n",
        },
    )
    assert read(tmp_path).labels["9"] == "fox"


def test_an_endless_cell_in_a_table_of_something_else_ends_nothing(tmp_path):
    put(tmp_path, {"fox/a.jpg": "", "owl/b.jpg": "", "z.csv": "x" * 3_000_000 + "\n"})
    assert read(tmp_path).classes == ["fox", "owl"]
