"""A load of clients whose connections are cut, and the judgement of what they saw."""
