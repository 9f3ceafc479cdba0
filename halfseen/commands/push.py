"""A finished run's model to the Hugging Face hub, with a card that is made of the run."""

import tempfile
from pathlib import Path

from halfseen.errors import UserError
from halfseen.machine.progress import Display
from halfseen.model.hub import api, endpoint, name_of, why
from halfseen.model.model import load_run
from halfseen.report.card import card, short
from halfseen.run.folder import Folder

TOLD, WEIGHTS = ("model/model.json", "metrics.json"), "model/model.safetensors"


def push(run: Path, name: str, private: bool = False) -> str:
    """Send the model, its scores and its card; returns the address. What was there under these names is replaced."""
    import torch

    folder, name = Folder.open(run), name_of(name)
    text = card(folder, name)
    model = load_run(run, torch.device("cpu"))  # what cannot be loaded here could not be loaded there
    own = [str(v) for v in (model.about["method"], model.about["net"]) if ".py" in str(v)]
    if own:
        raise UserError(
            f"{run} needs code of its own ({own[0]}), which nobody's `load` would run; export it as ONNX instead"
        )
    hub, display = api(), Display(False)
    display.say(f"{name}: the model, its scores and its card go to {endpoint()}")
    try:
        hub.create_repo(name, private=private, exist_ok=True)
        with tempfile.TemporaryDirectory() as place:
            there = Folder(Path(place))
            (there.path / "model").mkdir()
            for file in TOLD:  # without the folders above the data, which are nobody's business
                told = folder.read(file)
                there.write(file, {**told, "data": short(told["data"])})
            (there.path / WEIGHTS).write_bytes((run / WEIGHTS).read_bytes())
            (there.path / "README.md").write_text(text)
            hub.upload_folder(repo_id=name, folder_path=place, commit_message="halfseen push")
    except Exception as e:  # of the client, its HTTP library and the system
        raise UserError(why(e, name, "written")) from e
    address = f"{endpoint()}/{name}"
    display.say(f'{address}; load it with halfseen.load("hf:{name}")')
    return address
