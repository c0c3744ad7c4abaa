"""What is accepted is delivered: scenarios in which upstreams fail, move, refuse and fill up, and in which the agent restarts;
each with relayd and with the Collector in the same place, on the same configuration, and both in one table.

Must never judge the Collector: its figures stand beside, nothing fails for them.
"""
