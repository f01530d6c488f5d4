"""A camera or a clip while it happens: a page to look at, and blendshapes for other programs.

reading.py    frames at their own pace, the newest one kept;  watching.py faces of a frame, and the picture of them
message.py    what is said of a frame, as JSON (docs/live.md)
vmc.py        the same for avatar tools, over UDP;  osc.py the packets
server.py     page, pictures and messages on one port;  doors.py who may have them;  feed.py the newest for everybody
run.py        all of it until it ends;  page/ what the browser gets
"""
