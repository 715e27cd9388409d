"""Where jobs run, what memory they take and how long they last."""
