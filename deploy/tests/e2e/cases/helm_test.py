"""The DaemonSet's rollout, again and again under load: the next pod starts beside the last, gets ready by its own health socket, and
only then the last is told to end.

Must never let two agents share anything but the node's ports: each has its own root, mounts and health socket.
"""

from table import Row


def answers(run):
    """Replaces the agent under 5,000 spans/s."""
    return Row("")
