"""A folder with config.json and model.safetensors, or a name on the Hugging Face hub, through transformers' AutoModel.

ViT, DINOv2, DINOv3, CLIP, SigLIP, ResNet, ConvNeXt and what behaves like them; of CLIP and SigLIP the vision tower. The
feature of a picture is the network's own pooled output: the class token after the last norm (ViT, DINOv2, DINOv3, CLIP,
before any projection; a ViT's extra dense pooler, which most checkpoints leave untrained, is dropped), the attention head's
output (SigLIP), or the mean over all places (ResNet, ConvNeXt, with its last norm). Positions are interpolated to other
sides. Only safetensors are opened, and code that comes with a model is never run.
"""

import contextlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from halfseen.backbones.backbone import Backbone, digest, first_line, tried
from halfseen.backbones.pixels import CLIP, FILE, HALVES, IMAGENET, Normalise, read_pixels, read_settings
from halfseen.errors import UserError

FORM = "halfseen hub 1"  # another one if the same files should ever give other features
WEIGHTS, SHARDS = "model.safetensors", "model.safetensors.index.json"
USUAL = {"clip_vision_model": CLIP, "siglip_vision_model": HALVES, "vit": HALVES}
SIDE = 224
UNUSED = ("mask_token", "pooler.dense")  # a checkpoint may lack them
CONVOLUTIONS = 32  # pixels; they are halved five times
SECONDS = 10  # that the hub may take to answer


class Tower(Backbone):
    """A vision model of transformers."""

    def __init__(self, name: str, model: Any, folder: Path) -> None:
        super().__init__()
        config = model.config
        self.name, self.model = name, model
        self.key = digest(FORM, *(path for path in sorted(folder.glob("model*.safetensors"))), *configs(folder))
        self.kept = {path.name: path.read_bytes() for path in configs(folder)}
        pooler = getattr(model, "pooler", None)
        if isinstance(pooler, nn.Module) and any(True for _ in pooler.parameters()):
            model.pooler = None
        side, patch = (square(getattr(config, key, None)) for key in ("image_size", "patch_size"))
        pixels = read_pixels(folder, side or SIDE, USUAL.get(config.model_type, IMAGENET))
        self.normalise, self.side = Normalise(pixels), pixels.side
        tokens = not hasattr(config, "hidden_sizes")
        self.least = patch if tokens and patch else min(CONVOLUTIONS, self.side)
        self.options = {"interpolate_pos_encoding": True} if interpolates(model) else {}
        self.class_token = any(n.endswith(("cls_token", "class_embedding")) for n, _ in model.named_parameters())
        self.eval()
        self.dim = tried(self)
        self.fixed = not takes_another(self)

    def pooled(self, x: Tensor) -> Tensor:
        found = self.model(pixel_values=self.normalise(x), **self.options)
        pooled: Tensor | None = getattr(found, "pooler_output", None)
        if pooled is not None:
            return pooled.flatten(1)
        h: Tensor = found.last_hidden_state
        if h.ndim == 4:
            return h.mean((2, 3))
        return h[:, 0] if self.class_token else h.mean(1)

    def layers(self) -> list[nn.Module]:
        return list(opened(self.model))


def opened(module: nn.Module) -> Iterator[nn.Module]:
    """Its parts in order: whatever holds a list of layers is taken apart, unless it has parameters of its own."""
    lists = any(isinstance(part, nn.ModuleList) for part in module.modules())
    if not any(True for _ in module.parameters()):
        return
    if not lists or any(True for _ in module.parameters(recurse=False)):
        yield module
        return
    for child in module.children():
        yield from opened(child)


def interpolates(model: Any) -> bool:
    return "interpolate_pos_encoding" in inspect.signature(model.forward).parameters


def takes_another(net: Tower) -> bool:
    """Whether it takes pictures of another side than its own."""
    try:
        with torch.no_grad():
            net.pooled(torch.zeros(1, 3, net.least, net.least))
    except (RuntimeError, ValueError):
        return False
    return True


def square(size: Any) -> int | None:
    return None if size is None else int(min(size) if isinstance(size, list | tuple) else size)


def configs(folder: Path) -> list[Path]:
    return [path for path in (folder / "config.json", folder / FILE) if path.is_file()]


# ---- folders -------------------------------------------------------------------------------------------------------------


def load_folder(name: str, folder: Path) -> Tower:
    config = read_config(name, folder)
    if not has_weights(folder):
        pickles = [path.name for path in sorted(folder.iterdir()) if path.suffix in (".bin", ".pt", ".pth", ".ckpt")]
        if pickles:
            raise UserError(
                f"the backbone {name} has only a pickle ({pickles[0]}), which can run code when it is opened: save the "
                f"model with safe_serialization=True, or take one with {WEIGHTS}"
            )
        raise UserError(
            f"the backbone {name} has no {WEIGHTS}: put it beside its config.json, or fetch the model again"
        )
    transformers = imported()
    with quiet():
        try:
            model, found = transformers.AutoModel.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
        except Exception as error:  # of transformers, safetensors, torch: each has its own
            raise misfit(name, first_line(error)) from error
    missing = [key for key in sorted(found["missing_keys"]) if not any(unused in key for unused in UNUSED)]
    if missing or found["mismatched_keys"]:
        raise misfit(name, f"{len(missing) or len(found['mismatched_keys'])} tensors are missing or of another shape")
    return Tower(name, model, folder)


def unweighted(name: str, folder: Path) -> Tower:
    """The network that a folder's config.json describes, for weights that come from elsewhere."""
    config = read_config(name, folder)
    with quiet(), torch.random.fork_rng(devices=[]):
        model = imported().AutoModel.from_config(config, dtype=torch.float32, trust_remote_code=False)
    return Tower(name, model, folder)


def misfit(name: str, reason: str) -> UserError:
    return UserError(f"the weights of the backbone {name} do not fit its config.json ({reason}): fetch both again")


def has_weights(folder: Path) -> bool:
    return (folder / WEIGHTS).is_file() or (folder / SHARDS).is_file()


def read_config(name: str, folder: Path) -> Any:
    """transformers' settings of the part that sees pictures."""
    file = folder / "config.json"
    if not file.is_file():
        raise UserError(f"the folder {name} has no config.json: give one that a model of transformers was saved to")
    said = read_settings(file)
    if said.get("auto_map"):
        raise UserError(
            f"the backbone {name} asks for code of its own to be run (auto_map in its config.json), which halfseen never "
            "does: take a model that transformers itself knows, or write FILE.py:factory"
        )
    transformers = imported()
    with quiet():
        try:
            config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
            config = getattr(config, "vision_config", config)
            with torch.device("meta"):
                model = transformers.AutoModel.from_config(config, trust_remote_code=False)
        except Exception as error:
            raise UserError(
                f"the backbone {name} is no model that this transformers knows ({first_line(error)}): run "
                "`pip install --upgrade transformers`, or take another model"
            ) from error
    if model.main_input_name != "pixel_values":
        raise UserError(
            f"the backbone {name} is a model of {said.get('model_type', 'unknown type')}, which takes no pictures: take one "
            "that does, such as facebook/dinov2-small"
        )
    if getattr(config, "num_channels", 3) != 3:
        raise UserError(f"the backbone {name} takes pictures of {config.num_channels} channels: take one for three")
    return config


# ---- names on the hub ----------------------------------------------------------------------------------------------------


def load_name(name: str) -> Tower:
    imported()
    folder = kept(name)
    if folder is None:
        folder = fetched(name, ["config.json", FILE])
        read_config(name, folder)  # a wrong model is found before its weights are fetched
        folder = fetched(name, ["config.json", FILE, WEIGHTS, SHARDS, "model-*.safetensors"])
    return load_folder(name, folder)


def kept(name: str) -> Path | None:
    """The hub's own cache, if the model was fetched before: no connection is needed then."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, local_files_only=True))
    except Exception:  # not there, or a name that the hub would not allow: `fetched` says which
        return None
    return folder if (folder / "config.json").is_file() and has_weights(folder) else None


def fetched(name: str, files: list[str]) -> Path:
    from huggingface_hub import errors, snapshot_download

    try:
        with quiet():
            return Path(snapshot_download(name, allow_patterns=files, etag_timeout=SECONDS))
    except errors.GatedRepoError as error:
        raise UserError(
            f"the hub gives {name} only to those who accepted its terms: do so on huggingface.co/{name}, then run "
            "`hf auth login`"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(f"there is no folder {name} here and no such model on the hub: check the name") from error
    except Exception as error:  # the hub's client raises errors of many packages: all of them concern this name
        raise UserError(
            f"there is no folder {name} here, and the hub cannot be reached ({first_line(error)}): check the connection, or "
            "take lite0, which needs none"
        ) from error


def imported() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise UserError(
            "a backbone from a folder or the hub needs transformers: run `pip install halfseen[pretrained]`"
        ) from error
    return transformers


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """transformers tells at length what it loads, and warns of what is not our user's business."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
