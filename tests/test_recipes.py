"""Each recipe of `runs/` imports with the names of today, and those of one that starts a search are names that there are."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
RECIPES = sorted(path.stem for path in (ROOT / "runs").glob("*.py"))


def test_every_recipe_imports():
    script = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(f'runs.{name}')"
    done = subprocess.run([sys.executable, "-c", script, *RECIPES], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert RECIPES


def test_controllers_of_recipes_take_the_settings_they_are_given():
    from nas.compare import trial
    from runs import ablations, large_space, transfer

    for name, _ in large_space.ROWS.values():
        trial.check(name)
    for _, _, settings, _ in ablations.VARIANTS.values():
        trial.check(settings if settings.startswith("attention_policy") else f"transfer_bo{settings}")
    for name in transfer.COLD:
        trial.check(name)


def test_priors_are_measured_by_the_recipe_of_the_one_that_ships():
    from controller.models import prior_file
    from nas.run import priors
    from runs import split_priors

    shipped = prior_file.read(str(priors.SHIPPED)).about["command"]
    assert shipped.startswith(f"nas {' '.join(split_priors.recipe())} --split shipped ")
