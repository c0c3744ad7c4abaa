"""What a queue on disk costs: relayd with and without `file_storage` beside the Collector with and without it.

Must never compare times of two runs; the ratio is the figure.
"""
