//! exeunt-guard: the in-process revocation check for relying services.
