"""What the names of folders look like: a camera's, a label's, or neither's.

Names alone prove nothing; `preparation.folder_levels` asks for most of a level.
"""

import re

from trapline.names import Kind, key

# A camera's name with the word for it: Station01, CAM-3, site_A, camera trap ridge.
STATION = re.compile(
    r"(camera ?trap|camera|station|site|trap|kamera|standort|cam|stn|loc|location|plot|waypoint|wp|ct)s?"
    r"(?P<code>[ _-]*(\d+\w{0,2}|[a-z]))?(?P<rest>[ _-]+\w[\w -]*)?"
)
# A number behind these words tells no camera.
COUNTED = re.compile(
    r"(class|label|species|taxon|category|type|kind|id|individual|animal|batch|part|set|group|chunk|fold|"
    r"folder|dir|subset|week|month|year|day|night|roll|series|video|clip|seq|sequence|burst|event|trigger|"
    r"version|v|copy|run)s?[ _-]*\d+\w?"
)
ASPECTS = frozenset(
    ("adult", "adults", "juvenile", "juveniles", "young", "male", "female", "males", "females", "day",
     "night", "left", "right", "front", "back", "color", "colour", "bw", "ir", "rgb", "grey", "gray",
     "good", "bad", "blurry", "single", "multiple", "one", "many", "easy", "hard", "near", "far", "close",
     "certain", "uncertain", "checked", "unchecked", "done", "todo")
)  # fmt: skip
# What people call images without an animal, or of people: no camera is called so.
NO_SITES = frozenset(
    ("empty", "blank", "nothing", "none", "no animal", "noanimal", "ghost", "false trigger", "misfire",
     "human", "humans", "person", "people", "vehicle", "vehicles", "animal", "animals", "unknown",
     "unidentified", "other", "others", "setup", "team", "staff", "background", "leer", "mensch", "vide",
     "vacio", "vazio")
)  # fmt: skip
# Words at the end of what animals are called.
_ANIMALS = (
    "agouti antelope armadillo baboon badger bat bear beaver bird bison boar bobcat buffalo bushbuck "
    "bushpig camel capybara caracal caribou cat cattle cheetah chicken chimpanzee civet coati cow coyote "
    "crow deer dhole dog donkey duiker eagle eland elephant elk ferret finch fisher fox gazelle genet "
    "giraffe goat goose gorilla grouse hare hartebeest hedgehog heron hippo hippopotamus hog honeyguide "
    "horse hyena hyaena ibex impala insect jackal jaguar jay kangaroo kudu lemming leopard lion lizard "
    "lynx macaque marmot marten mole mongoose monkey moose mouse muntjac ocelot opossum oryx ostrich "
    "otter owl ox panda pangolin partridge peccary pheasant pig pigeon pika polecat porcupine possum puma "
    "quail quoll rabbit raccoon rat raven reindeer reptile rhino rhinoceros robin rodent sambar serval "
    "sheep shrew skunk sloth snake squirrel stoat swine tapir thrush tiger tortoise turkey vole vulture "
    "wallaby warthog waterbuck weasel wildebeest wolf wolverine wombat woodcock woodpecker zebra fuchs "
    "reh hirsch wildschwein dachs hase katze hund vogel "
)
ANIMALS = frozenset(_ANIMALS.split())
WORDNET = re.compile(r"n\d{8}")


def has_station_word(name: str, *, with_code: bool = False) -> bool:
    """Whether a name says that it is a camera's: Station01, CAM-3, site_A; camera ridge if without code."""
    found = STATION.fullmatch(key(name, Kind.SITE))
    return found is not None and (found["code"] is not None or (found["rest"] is not None and not with_code))


def looks_like_station(name: str) -> bool:
    """Whether a name is as people call cameras: with the word, or a code with letters and digits."""
    own = key(name, Kind.SITE)
    has_both = re.search(r"\d", own) is not None and re.search(r"[^\W\d_]", own) is not None
    is_code = has_both and not COUNTED.fullmatch(own) and not WORDNET.fullmatch(own)
    return has_station_word(name) or is_code


def looks_like_label(name: str) -> bool:
    """Whether a name is a known word for what is on an image, or ends with an animal's."""
    own = re.sub(r"[\s_-]+", " ", key(name, Kind.CLASS)).strip()
    last = own.rpartition(" ")[2]
    return own in NO_SITES or last in ANIMALS or last.removesuffix("s") in ANIMALS


def tells_no_site(name: str) -> bool:
    """Whether a folder in a class is more likely a part of it than a camera: a number, a batch, adults."""
    own = key(name, Kind.SITE)
    return own.isdecimal() or own in ASPECTS or COUNTED.fullmatch(own) is not None
