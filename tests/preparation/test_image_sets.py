import pytest

from trapline.errors import TraplineError
from trapline.preparation.image_sets import class_names
from trapline.preparation.listing import UNLABELED, SiteRule, limited
from trapline.preparation.sources import read_source

NO_RULE = SiteRule()
FISH, CAT, MACHINE, BIRD = "n01", "n02", "n03", "n04"
WORDS = f"""{FISH}\tgoldfish, Carassius auratus
{CAT}\ttabby, tabby cat
{MACHINE}\tcrane
{BIRD}\tcrane, wading bird
n99\ta class of the whole of ImageNet
"""


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def tiny_imagenet(folder, codes=(CAT, FISH)):
    for code in codes:
        touch(folder, *(f"train/{code}/images/{code}_{number}.JPEG" for number in range(3)))
        (folder / "train" / code / f"{code}_boxes.txt").write_text("boxes")
    touch(folder, "val/images/val_0.JPEG", "val/images/val_1.JPEG", "test/images/test_0.JPEG")
    (folder / "wnids.txt").write_text("\n".join(codes) + "\n")
    (folder / "words.txt").write_text(WORDS)
    annotate(folder, ("val_0.JPEG", codes[1]), ("val_1.JPEG", codes[0]))
    return folder


def annotate(folder, *rows):
    lines = (f"{name}\t{code}\t0\t32\t44\t62" for name, code in rows)
    (folder / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")


def given(source):
    rows = source.images.itertuples(index=False)
    return {
        row.id: (source.classes[row.label] if row.label != UNLABELED else None, row.given) for row in rows
    }


def reasons(source):
    return {(row.id, row.reason) for row in source.quarantined}


def test_tiny_imagenet_keeps_its_split_and_gets_names_from_the_words(tmp_path):
    source = read_source(tiny_imagenet(tmp_path), NO_RULE)
    assert source.classes == ["tabby", "goldfish"]  # in the order of wnids.txt
    assert source.class_codes == [CAT, FISH]
    assert source.has_split
    assert not source.has_sites
    assert source.quarantined == []
    assert given(source) == {
        **{f"train/{CAT}/images/{CAT}_{number}.JPEG": ("tabby", "train") for number in range(3)},
        **{f"train/{FISH}/images/{FISH}_{number}.JPEG": ("goldfish", "train") for number in range(3)},
        "val/images/val_0.JPEG": ("goldfish", "val"),
        "val/images/val_1.JPEG": ("tabby", "val"),
        "test/images/test_0.JPEG": (None, None),
    }
    assert source.images["path"].tolist()[0] == str(tmp_path / "train" / CAT / "images" / f"{CAT}_0.JPEG")


def test_validation_images_without_one_known_class_are_quarantined_and_none_is_lost(tmp_path):
    folder = tiny_imagenet(tmp_path)
    touch(folder, "val/images/none.JPEG", "val/images/two.JPEG", "val/images/other.JPEG", "loose.png")
    touch(folder, "train/n77/images/stray.JPEG", "train/loose.JPEG")
    annotate(
        folder,
        *(("val_0.JPEG", CAT), ("two.JPEG", CAT), ("two.JPEG", FISH)),
        *(("other.JPEG", "n99"), ("gone.JPEG", CAT), ("val_1.JPEG", FISH)),
    )
    source = read_source(folder, NO_RULE)
    assert reasons(source) == {
        ("val/images/none.JPEG", "unknown_label"),
        ("val/images/two.JPEG", "ambiguous_label"),
        ("val/images/other.JPEG", "unknown_label"),
        ("val/images/gone.JPEG", "missing"),
        ("train/n77/images/stray.JPEG", "unknown_label"),
        ("train/loose.JPEG", "unknown_label"),
        ("loose.png", "unknown_label"),
    }
    assert len(source.images) == 6 + 2 + 1


def test_a_validation_part_that_was_sorted_into_class_folders_is_read(tmp_path):
    folder = tiny_imagenet(tmp_path)
    (folder / "val" / "val_annotations.txt").unlink()
    (folder / "val" / "images" / "val_0.JPEG").unlink()
    (folder / "val" / "images" / "val_1.JPEG").unlink()
    touch(folder, f"val/{FISH}/images/val_0.JPEG", f"val/{CAT}/val_1.JPEG")
    found = given(read_source(folder, NO_RULE))
    assert found[f"val/{FISH}/images/val_0.JPEG"] == ("goldfish", "val")
    assert found[f"val/{CAT}/val_1.JPEG"] == ("tabby", "val")


def test_a_class_without_images_is_named(tmp_path):
    folder = tiny_imagenet(tmp_path)
    (folder / "wnids.txt").write_text(f"{CAT}\n{FISH}\n{BIRD}\n")
    with pytest.raises(TraplineError, match=rf"train/{BIRD}/images: holds no image, though wnids.txt names"):
        read_source(folder, NO_RULE)


def image_folder(folder):
    for part, count in (("train", 3), ("val", 1)):
        for code in (FISH, CAT):
            touch(folder, *(f"{part}/{code}/{part}{number}.JPEG" for number in range(count)))
    return folder


def test_imagenets_folders_keep_their_split(tmp_path):
    source = read_source(image_folder(tmp_path), NO_RULE)
    assert source.classes == [FISH, CAT]
    assert source.class_codes is None
    assert source.images.groupby("given").size().to_dict() == {"train": 6, "val": 2}
    assert given(source)[f"val/{CAT}/val0.JPEG"] == (CAT, "val")


def test_a_test_part_is_labelled_where_it_has_class_folders_and_unlabelled_where_not(tmp_path):
    folder = image_folder(tmp_path)
    touch(folder, "test/0001.JPEG", "unlabeled/more.JPEG")
    flat = given(read_source(folder, NO_RULE))
    assert flat["test/0001.JPEG"] == flat["unlabeled/more.JPEG"] == (None, None)
    touch(folder, f"test/{CAT}/x.JPEG")
    source = read_source(folder, NO_RULE)
    assert given(source)[f"test/{CAT}/x.JPEG"] == (CAT, "test")
    assert ("test/0001.JPEG", "unknown_label") in reasons(source)


def test_images_of_classes_that_train_lacks_are_quarantined(tmp_path):
    folder = image_folder(tmp_path)
    touch(folder, "val/n55/a.JPEG", "val/loose.JPEG")
    assert reasons(read_source(folder, NO_RULE)) == {
        ("val/n55/a.JPEG", "unknown_label"),
        ("val/loose.JPEG", "unknown_label"),
    }


def test_a_flat_validation_folder_and_an_empty_class_are_named(tmp_path):
    folder = image_folder(tmp_path / "flat")
    for code in (FISH, CAT):
        (folder / "val" / code / "val0.JPEG").unlink()
        (folder / "val" / code).rmdir()
    with pytest.raises(TraplineError, match="val: holds none of the class folders of train"):
        read_source(folder, NO_RULE)
    folder = image_folder(tmp_path / "empty")
    (folder / "train" / BIRD).mkdir()
    with pytest.raises(TraplineError, match=f"train/{BIRD}: an empty class folder"):
        read_source(folder, NO_RULE)


def test_other_folders_beside_train_and_val_make_no_classes_of_them(tmp_path):
    folder = image_folder(tmp_path)
    touch(folder, "bus/1.jpg")
    with pytest.raises(
        TraplineError, match="train, val: by their names parts of a split, but bus lies beside"
    ):
        read_source(folder, NO_RULE)


def test_names_that_two_classes_share_are_told_apart_by_their_codes(tmp_path):
    (tmp_path / "LOC_synset_mapping.txt").write_text(WORDS.replace("\t", " "))
    names = class_names(tmp_path, [FISH, MACHINE, BIRD, "n05"])
    assert names == ["goldfish", f"crane ({MACHINE})", f"crane ({BIRD})", "n05"]


def test_sites_can_be_told_from_the_paths_of_a_set_with_parts(tmp_path):
    import re

    source = read_source(image_folder(tmp_path), SiteRule(pattern=re.compile(r"/(?P<site>\w+)\.JPEG")))
    assert source.has_sites
    assert set(source.images["site"]) == {"train0", "train1", "train2", "val0"}


def test_a_limit_draws_as_many_of_each_class_and_part_and_the_same_again(tmp_path):
    source = read_source(tiny_imagenet(tmp_path), NO_RULE)
    kept = limited(source, 2, seed=3)
    assert kept.images.groupby(["label", "given"]).size().to_dict() == {
        (0, "train"): 2, (0, "val"): 1, (1, "train"): 2, (1, "val"): 1,
    }  # fmt: skip
    assert (kept.images["label"] == UNLABELED).sum() == 1
    assert kept.images["id"].tolist() == limited(source, 2, seed=3).images["id"].tolist()
    drawn = {tuple(limited(source, 1, seed).images["id"]) for seed in range(8)}
    assert len(drawn) > 1
    assert kept.images["id"].tolist() == [
        name for name in source.images["id"] if name in set(kept.images["id"])
    ]
