"""Tests in a browser; a package, so that its conftest is no namesake of the lab's."""
