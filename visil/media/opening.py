"""Opens a stranger's file, or says why it is not a readable video.

    [file ─► container, video stream] ─► decoded pictures ─► sampling ─► resize, crop ─► Frames
    this module

Only local files of the listed containers are opened: no network protocol, no playlist that pulls in other files.
"""

from __future__ import annotations

import errno
import stat
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from visil.errors import MediaError
from visil.media.structure import Headers, cut_off, headers_of, is_animated_webp

PICTURE_SUFFIXES = frozenset(".bmp .jpe .jpeg .jpg .png .tif .tiff .webp".split())
MAX_PICTURE_BYTES = 256 << 20  # more is no picture, whatever its name
MAX_PICTURE_PX = 8192 * 8192  # 8K panoramas pass, decompression bombs do not
BYTES_A_PIXEL = 8  # four channels of 16 bits
LEAST_ROOM_BYTES = 4 << 20  # for a packet, where the size of the pictures is not known

CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,flv,live_flv,asf,gif,apng,ogg,h264,hevc,"
    "av1,obu,ivf,mxf,gxf,wtv,dv,rm,nut,mjpeg,swf,yuv4mpegpipe,vc1,nsv,roq,bink,smk,dxa,amv,avs,cavsvideo"
)
# Not videos, but worth the right reason: sound and stills.
NOT_VIDEO_CONTAINERS = (
    "mp3,wav,flac,aac,ac3,aiff,caf,amr,ape,w64,png_pipe,jpeg_pipe,bmp_pipe,webp_pipe,tiff_pipe,svg_pipe,jpegxl_pipe"
)


def open_video(
    path: Path, *, stills: bool = False, packet_s: float | None = None
) -> tuple[InputContainer, VideoStream]:
    """The container and the stream to decode, which is the first that is no cover picture; the caller closes it.

    Args:
        stills: a still picture is a video of one frame.
        packet_s: seconds in which headers, and later every packet, must be found; beyond them FFmpeg gives up with
            `av.ExitError`. None: as long as it takes.

    Raises:
        MediaError: not a readable video.
    """
    if _is_special(path):
        raise MediaError(f"{path}: not a regular file", "unreadable")  # a pipe or device would never end
    try:
        container = av.open(
            _source(path),
            mode="r",
            metadata_errors="replace",
            container_options={
                "format_whitelist": f"{CONTAINERS},{NOT_VIDEO_CONTAINERS}",
                "protocol_whitelist": "file",
            },
            timeout=packet_s,
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        check_memory(error)
        if isinstance(error, av.ExitError):
            raise MediaError(
                f"{path}: given up: no headers found for {packet_s:g} s; --stall-seconds waits longer", "stalled"
            ) from error
        raise _open_failure(path, error) from error
    try:
        return container, _video_stream(path, container, stills=stills)
    except BaseException as error:
        container.close()
        if isinstance(error, MediaError) and headers_of(path) is Headers.CUT:
            raise cut_off(path) from error
        raise


def _source(path: Path) -> str | BytesIO:
    """What FFmpeg opens.

    A name like a picture's is a numbered series of files to it: it would look for its neighbours, not at the content.
    Without a name it looks at the content.
    """
    if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file() and path.stat().st_size <= MAX_PICTURE_BYTES:
        return BytesIO(path.read_bytes())
    return f"file:{path}"


def _video_stream(path: Path, container: InputContainer, *, stills: bool) -> VideoStream:
    streams = [s for s in container.streams.video if not s.disposition & s.disposition.attached_pic]
    if not streams:
        kinds = {"cover picture" if s.type == "video" else s.type for s in container.streams}
        holds = ", ".join(sorted(kinds)) or "nothing"
        raise MediaError(f"{path}: no video stream (it holds: {holds})", "no_video_stream")
    if container.format.name == "webp_pipe" and is_animated_webp(path):
        raise MediaError(f"{path}: animated WebP, which FFmpeg does not decode; convert it", "unsupported_format")
    if is_still(container) and not stills:
        raise MediaError(f"{path}: a still picture, not a video", "not_a_video")
    stream = streams[0]
    codec = stream.codec_context
    if codec is None:
        raise MediaError(f"{path}: no decoder for its video stream", "undecodable")
    refuse_huge(path, codec.width, codec.height)
    # One thread: decoding of damaged streams must not depend on timing; files are decoded in parallel.
    codec.thread_count = 1
    codec.options = {"max_pixels": str(MAX_PICTURE_PX)}
    return stream


def is_still(container: InputContainer) -> bool:
    """Whether it holds one picture, which has no time."""
    return container.format.name.endswith("_pipe")


def refuse_huge(path: Path | BinaryIO, width: int, height: int) -> None:
    """Raises MediaError for pictures beyond MAX_PICTURE_PX."""
    if width * height > MAX_PICTURE_PX:
        raise MediaError(
            f"{path}: pictures of {width} x {height} px are larger than the limit of {MAX_PICTURE_PX} px", "too_large"
        )


def check_memory(error: Exception, picture_px: int = 0) -> None:
    """Tell a lack of memory from damage: FFmpeg has one error for memory that ran out and for sizes that are damaged,
    and some decoders call a packet invalid when its picture finds no room.

    Raises:
        MemoryError: one more picture of this many pixels would find no room.
    """
    try:
        bytearray(max(picture_px * BYTES_A_PIXEL, LEAST_ROOM_BYTES))
    except MemoryError:
        raise MemoryError from error


def header_duration_s(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """Length of the video in seconds as the headers tell it: the stream's own, else the container's.

    AVI counts frames; FFmpeg would tell a shorter length if the file is cut. Matroska, which tells no stream's own,
    counts from time zero, though the video may begin later.
    """
    time_base = Fraction(stream.time_base or 0)
    if container.format.name == "avi" and stream.frames and time_base:
        return stream.frames * time_base
    if stream.duration and time_base:
        return stream.duration * time_base
    if not container.duration:
        return None
    start_s = max(Fraction(0), (stream.start_time or 0) * time_base)
    return max(Fraction(0), Fraction(container.duration, av.time_base) - start_s)


def _is_special(path: Path) -> bool:
    """A pipe, a device or a socket."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False  # opening it will tell
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _open_failure(path: Path, error: Exception) -> MediaError:
    """Why a file was not opened, told by the file itself."""
    try:
        if path.is_dir():
            return MediaError(f"{path}: a folder, not a video", "unreadable")
        if path.stat().st_size == 0:
            return MediaError(f"{path}: the file is empty", "empty_file")
        headers = headers_of(path)
    except FileNotFoundError:
        return MediaError(f"{path}: no such file", "unreadable")
    except (OSError, ValueError) as reason:  # not to be looked at, or no possible name
        return MediaError(f"{path}: cannot be opened ({reason_of(reason)})", "unreadable")
    # Where the headers themselves are there, a demuxer may need more than them.
    if headers is Headers.CUT or (headers is Headers.WHOLE and _ran_into_the_end(error)):
        return cut_off(path)
    if headers is Headers.WHOLE:
        return MediaError(f"{path}: its headers are damaged ({reason_of(error)})", "undecodable")
    if isinstance(error, av.InvalidDataError | av.EOFError | av.ArgumentError):  # the last: a format not on our list
        return MediaError(f"{path}: not a video, or its headers are damaged", "not_media")
    return MediaError(f"{path}: cannot be opened ({reason_of(error)})", "undecodable")


def _ran_into_the_end(error: Exception) -> bool:
    return isinstance(error, av.EOFError) or (isinstance(error, OSError) and error.errno == errno.EIO)


def reason_of(error: Exception) -> str:
    """The words of an error, without its number and file."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
