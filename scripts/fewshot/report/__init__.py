"""The pages a reader sees: report, tables and figures."""
