"""What the examples share that ask about pictures.

`kserve` asks a Model over KServe v2; `text_detection`, `text_recognition` and `digit_recognition` turn pictures into
tensors and outputs into answers; `opening` decodes what strangers send; `drawing` draws boxes.
"""
