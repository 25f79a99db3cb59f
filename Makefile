# make demo and make test are the two to know; make help lists the others.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo test test-sanitized build packages install lint format clean

PROMPT = Explain quantum computing.
PREFIX = /usr/local
# Reaches the shell as it was typed: quotes, spaces and dollar signs included.
export FLASHMOE_PROMPT := $(value PROMPT)

help:
	@echo "make demo [PROMPT=\"...\"]   build a release, ask the built-in model, show the statistics"
	@echo "make test                  build and run the whole suite, house checks included"
	@echo "make test-sanitized        the parts that handle bytes and threads once more, under ASan, UBSan and TSan"
	@echo "make build                 build the release: build/release/bin/flashmoe"
	@echo "make install [PREFIX=DIR]  install the binary and the built-in model; default /usr/local"
	@echo "make lint                  clang-tidy over the sources"
	@echo "make format                clang-format over the sources"
	@echo "make clean                 remove build/"

packages:
	@tools/install_packages

build: packages
	@tools/build release flashmoe

demo: build
	@echo "flashmoe run -p \"$$FLASHMOE_PROMPT\""
	@build/release/bin/flashmoe run --prompt="$$FLASHMOE_PROMPT"

test: packages
	@tools/run_tests release

test-sanitized: packages
	@tools/run_tests sanitized

install: build
	@cmake --install build/release --prefix "$(PREFIX)" >/dev/null
	@echo "installed $(DESTDIR)$(PREFIX)/bin/flashmoe"

lint: packages
	@command -v clang-tidy >/dev/null || { echo "make lint needs clang-tidy: apt-get install clang-tidy"; exit 1; }
	@tools/build release flashmoe
	@git ls-files 'src/*.cpp' 'apps/*.cpp' | xargs -n 1 -P "$$(nproc)" clang-tidy --quiet -p build/release

format:
	@command -v clang-format >/dev/null || { echo "make format needs clang-format: apt-get install clang-format"; exit 1; }
	@git ls-files '*.h' '*.cpp' | xargs clang-format -i

clean:
	rm -rf build
