"""Video in: frames, faces that keep their number from frame to frame, and what people look at.

reader.py     frames of a file or a camera, with their times; container.py says why a file cannot be opened
tracker.py    faces through time; outline.py the box of a predicted mesh
table.py      a row a face a frame, in finished chunks; run.py makes them and goes on after an interruption
smooth.py     One Euro filter over the rows;  people.py each person's median shape
rows.py       CSV and Parquet;  overlay.py the mesh over the film;  animation.py one animated GLB, with gltf.py
"""
