//! Fakes and rigs for tests.
