//! The operating system behind the engine's ports.
