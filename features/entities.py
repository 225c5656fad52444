"""What features are about. `author` and `topic` are reached through the video (service `exposure_keys`)."""

from feast import Entity, ValueType

user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)
video = Entity(name="video", join_keys=["video_id"], value_type=ValueType.INT64)
author = Entity(name="author", join_keys=["author_id"], value_type=ValueType.INT64)
topic = Entity(name="topic", join_keys=["topic"], value_type=ValueType.STRING)
surface = Entity(name="surface", join_keys=["surface"], value_type=ValueType.INT64)
