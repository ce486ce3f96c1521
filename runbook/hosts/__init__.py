"""Whatever reaches a host: connections, the engine behind them, and what was said."""
