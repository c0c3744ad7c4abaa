"""What is acknowledged survives: the agent with a persistent queue is killed, its disk fills up, breaks and stands still, its upstream
comes and goes; relayd and the Collector with its `file_storage` in the same place, in one table.

Must never judge the Collector: its figures stand beside, nothing fails for them.
"""
