# Needs python3 (3.11 to 3.13, with venv) and make; everything else goes into .venv.
# The packages are those of requirements.lock, checked by hash; any package index or mirror will do.
#   make demo      install, then predict, export and verify on the photo in the project
#   make test      install, then the tests        make lint    ruff and mypy
#   make lock      solve requirements.lock anew   make wheel   dist/*.whl
#   make docs      the documentation site, in build/site; open build/site/index.html
#   make web       web/dist, the page in the browser (needs node 20 or newer with npm)
#   make web-test  the page in headless Chromium (CHROMIUM=... names one)
#   make clean     remove what was built, not .venv
# PYTHON=... names the Python to use.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?=
TESTFLAGS ?=
LOCKFLAGS ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: install demo test lint lock wheel web web-test clean docs
.DEFAULT_GOAL := install

install: $(VENV)/.installed

# Stamps: a second make does nothing. .locked says that .venv holds exactly the lock, so a package added by hand
# stays until the lock changes.
$(VENV)/.locked: requirements.lock tools/bootstrap.lock
	@$(BIN)/python tools/preflight.py >/dev/null 2>&1 || { \
	  python=$$(sh tools/find_python.sh $(PYTHON)) && "$$python" -m venv --clear $(VENV); }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip --default-pip >/dev/null
	@$(BIN)/python -m pip install -qq --require-hashes --only-binary :all: -r tools/bootstrap.lock
	@# pip takes over where uv cannot: a mirror that only pip's own configuration names, for one.
	$(BIN)/uv pip sync --python $(BIN)/python --require-hashes --only-binary :all: requirements.lock tools/bootstrap.lock \
	  || $(BIN)/python -m pip install --require-hashes --only-binary :all: -r requirements.lock
	@touch $@

$(VENV)/.installed: $(VENV)/.locked pyproject.toml
	$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: install
	@$(BIN)/expnet demo

# pytest itself, not python -m pytest: that would put the repository root, and so a second export/, on sys.path.
# Two processes, and a folder of tests stays on one of them (tests/conftest.py).
test: install
	@$(BIN)/pytest -q -n 2 --dist loadgroup $(TESTFLAGS)

lint: install
	@$(BIN)/ruff check . && ruff=0 || ruff=1; $(BIN)/mypy && exit $$ruff

# LOCKFLAGS=--upgrade takes newer versions; without it only what pyproject.toml makes necessary changes.
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
  --no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(LOCKFLAGS)
lock: install
	$(COMPILE) pyproject.toml --extra dev --extra train --extra cluster --extra serving --extra bench --extra docs --output-file requirements.lock
	echo uv | $(COMPILE) - --output-file tools/bootstrap.lock

# build/ first: setuptools would pack files that were deleted since.
wheel: install
	@rm -rf build
	$(BIN)/uv build --python $(BIN)/python --wheel --no-build-isolation --out-dir dist

web: web/public/model.json web/node_modules/.package-lock.json
	@cd web && npm run --silent build

web/public/model.json: tools/build_web_assets.py $(wildcard expnet_tf/assets/* export/*.py) | install
	@$(BIN)/python tools/build_web_assets.py

web/node_modules/.package-lock.json: web/package-lock.json
	@cd web && npm ci

web-test: web
	@$(BIN)/python web/tests/golden.py build/web-golden
	@cd web && npm test

# Strict: a warning is an error. Needs no network.
docs: install
	@$(BIN)/python tools/docs_site.py
	@$(BIN)/zensical build --config-file mkdocs.yml --clean --strict
	@$(BIN)/python tools/check_site.py build/site

clean:
	rm -rf web/dist web/public web/node_modules
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find expnet_tf export serving tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
