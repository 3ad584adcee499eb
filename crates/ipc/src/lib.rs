//! Local messages between tray, CLI, agent and warden, their frames and the peer check.
