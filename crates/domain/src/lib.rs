//! The words of Exeunt as types: ids, subjects, tiers, verdicts, outcomes, receipts.
