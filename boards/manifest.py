"""Kalitka's own part of a frozen image, the same for every board; their manifests include it."""

# ruff: noqa: F821 - these functions are the build's own
package("kalitka", base_path="../firmware", opt=2)
module("main.py", base_path="../firmware", opt=2)
module("boot.py", base_path="../firmware", opt=2)
