"""Kalitka's part of a frozen image, the same for all boards; their manifests include it."""

# ruff: noqa: F821 - these functions are the build's own
package("kalitka", base_path="../firmware", opt=2)
module("main.py", base_path="../firmware", opt=2)
module("boot.py", base_path="../firmware", opt=2)
