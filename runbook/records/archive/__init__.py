"""The folder of sealed runs: statements, ledgers, anchors and approvals."""
