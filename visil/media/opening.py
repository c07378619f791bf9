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
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from visil.av_versions import OPEN_OPTIONS
from visil.errors import MediaError
from visil.media.structure import Headers, cut_off, headers_of, is_animated_webp, is_iso_picture

PICTURE_SUFFIXES = frozenset(".bmp .jpe .jpeg .jpg .png .tif .tiff .webp".split())
MAX_PICTURE_BYTES = 256 << 20  # more is no picture, whatever its name
MAX_PICTURE_PX = 8192 * 8192  # 8K panoramas pass, decompression bombs do not
BYTES_A_PIXEL = 8  # four channels of 16 bits
OLD_X264 = {"x264_build": "150"}  # the last with its fault in 4:4:4
LIBVPX = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
LEAST_ROOM_BYTES = 4 << 20  # for a packet, where the size of the pictures is not known

CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,flv,live_flv,asf,gif,apng,ogg,h264,hevc,"
    "av1,obu,ivf,mxf,gxf,wtv,dv,rm,nut,mjpeg,swf,yuv4mpegpipe,vc1,nsv,roq,bink,smk,dxa,amv,avs,cavsvideo,"
    "webp_anim"  # FFmpeg 9; before it no animated WebP is decoded
)
# Not videos, but worth the right reason: sound and stills.
NOT_VIDEO_CONTAINERS = (
    "mp3,wav,flac,aac,ac3,aiff,caf,amr,ape,w64,png_pipe,jpeg_pipe,bmp_pipe,webp_pipe,tiff_pipe,svg_pipe,jpegxl_pipe"
)


def open_video(
    path: Path, *, stills: bool = False, packet_s: float | None = None
) -> tuple[InputContainer, VideoStream]:
    """The container and the stream to decode, which is the best by FFmpeg's rule; the caller closes the container.

    The rule asks for the default stream, then for the one of more pictures and of more bits. Cover pictures and
    thumbnails never count.

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
        container = _opened(path, packet_s)
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


def _opened(path: Path, packet_s: float | None = None) -> InputContainer:
    return av.open(
        _source(path),
        mode="r",
        timeout=packet_s,
        container_options={"format_whitelist": f"{CONTAINERS},{NOT_VIDEO_CONTAINERS}", "protocol_whitelist": "file"},
        **OPEN_OPTIONS,
    )


def _source(path: Path) -> str | BytesIO:
    """What FFmpeg opens.

    A name like a picture's is a numbered series of files to it: it would look for its neighbours, not at the content.
    Without a name it looks at the content.
    """
    if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file() and path.stat().st_size <= MAX_PICTURE_BYTES:
        return BytesIO(path.read_bytes())
    return f"file:{path}"


def _video_stream(path: Path, container: InputContainer, *, stills: bool) -> VideoStream:
    streams = full_streams(container)
    if not streams:
        kinds = {"cover picture" if s.type == "video" else s.type for s in container.streams}
        holds = ", ".join(sorted(kinds)) or "nothing"
        raise MediaError(f"{path}: no video stream (it holds: {holds})", "no_video_stream")
    if container.format.name == "webp_pipe" and is_animated_webp(path):
        raise MediaError(f"{path}: animated WebP, which FFmpeg does not decode; convert it", "unsupported_format")
    if is_still(path, container):
        if not stills:
            raise MediaError(f"{path}: a still picture, not a video", "not_a_video")
        refuse_tiles(path, container)
    stream = _best(container, streams)
    codec = stream.codec_context
    if codec is None:
        raise MediaError(f"{path}: no decoder for its video stream", "undecodable")
    refuse_huge(path, codec.width, codec.height)
    # One thread: decoding of damaged streams must not depend on timing; files are decoded in parallel.
    codec.thread_count = 1
    codec.options = {"max_pixels": str(MAX_PICTURE_PX)}
    if is_444(stream) and _is_by_old_x264(path, stream.index):
        codec.options = {**codec.options, **OLD_X264}
    return stream


def full_streams(container: InputContainer) -> list[VideoStream]:
    """Its video streams without cover pictures and thumbnails."""
    return [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]


def _best(container: InputContainer, streams: list[VideoStream]) -> VideoStream:
    """Of the streams that can be decoded, if any can, FFmpeg's choice; the first if it chooses another."""
    streams = [s for s in streams if s.codec_context is not None] or streams
    best = container.streams.best("video")
    return next((s for s in streams if best is not None and s.index == best.index), streams[0])


def is_444(stream: VideoStream) -> bool:
    """Whether it is H.264 with chroma at full resolution, which x264 wrote wrongly until 2017."""
    codec = stream.codec_context
    return codec.name == "h264" and codec.profile == "High 4:4:4 Predictive"


def _is_by_old_x264(path: Path, stream_index: int) -> bool:
    """Whether the first picture is whole to a decoder with the fault of old x264, and to none without it.

    x264 writes its version into the stream, and FFmpeg goes by it; where that was taken out, only trying tells.
    """
    return _first_is_damaged(path, stream_index, {}) and not _first_is_damaged(path, stream_index, OLD_X264)


def _first_is_damaged(path: Path, stream_index: int, options: dict[str, str]) -> bool:
    try:
        with _opened(path) as container:
            (stream,) = (s for s in container.streams.video if s.index == stream_index)
            stream.codec_context.thread_count = 1
            stream.codec_context.options = options
            return next(container.decode(stream)).is_corrupt
    except (av.FFmpegError, OSError, ValueError, StopIteration) as error:
        check_memory(error)
        return True


def decoder_of(path: Path, stream: VideoStream) -> VideoCodecContext:
    """The decoder of a stream that `open_video` has chosen: its own, or one that keeps transparency.

    Raises:
        MediaError: this FFmpeg has none that does.
    """
    if not is_transparent_webm(stream):
        return stream.codec_context
    own = stream.codec_context
    try:
        codec = av.CodecContext.create(LIBVPX[own.name], "r")
    except ValueError as error:
        raise MediaError(f"{path}: transparent {own.name}, which takes an FFmpeg with libvpx", "undecodable") from error
    assert isinstance(codec, VideoCodecContext)
    codec.thread_count = own.thread_count
    codec.options = own.options
    return codec


def is_transparent_webm(stream: VideoStream) -> bool:
    """Whether it is VP8 or VP9 with transparency beside the pictures, which FFmpeg's own decoders drop."""
    return stream.codec_context.name in LIBVPX and stream.metadata.get("alpha_mode") == "1"


def is_still(path: Path, container: InputContainer) -> bool:
    """Whether it holds one picture, which has no time."""
    name = container.format.name
    return name.endswith("_pipe") or (name.startswith("mov,") and is_iso_picture(path))


def refuse_tiles(path: Path | BinaryIO, container: InputContainer) -> None:
    """Raises MediaError for a still picture of which only the file says how its tiles or layers make one.

    FFmpeg's decoders do not put them together.
    """
    items = container.streams.video
    if len(items) > 1 or any(item.disposition & Disposition.dependent for item in items):
        raise MediaError(
            f"{path}: a picture in tiles or layers, as phones make them; convert it to JPEG or PNG",
            "unsupported_format",
        )


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

    Matroska, which tells no stream's own, counts from time zero, though the video may begin later.
    """
    own_s, length_s = own_duration_s(container, stream), container_duration_s(container)
    if own_s is not None or length_s is None:
        return own_s
    return max(Fraction(0), length_s - max(Fraction(0), (stream.start_time or 0) * Fraction(stream.time_base or 0)))


def own_duration_s(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """What the headers tell of this stream alone, seconds.

    AVI counts frames; FFmpeg would tell a shorter length if the file is cut.
    """
    time_base = Fraction(stream.time_base or 0)
    if container.format.name == "avi" and stream.frames and time_base:
        return stream.frames * time_base
    return stream.duration * time_base if stream.duration and time_base else None


def container_duration_s(container: InputContainer) -> Fraction | None:
    """Length of its longest stream as the headers tell it, seconds."""
    return Fraction(container.duration, av.time_base) if container.duration else None


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
