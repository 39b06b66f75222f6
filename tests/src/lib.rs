//! One suite for every backend: file tests, golden vectors, kernel snapshots, the layering of the workspace.
