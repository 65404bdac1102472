#include "io/reports/stroke_font.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <vector>

namespace eelsvae {
namespace {

struct Point {
  int x, y;
};

// Hershey Simplex Roman, the printable characters of ASCII from the space on. The Hershey fonts were
// originally created by Dr. A. V. Hershey while working at the U.S. National Bureau of Standards; the form in
// which they stand here was originally created by James Hurt, Cognition, Inc., 900 Technology Park Drive,
// Billerica, MA 01821 (mit-eddie!ci-dandelion!hurt). Pairs of letters are coordinates, 'R' is 0, y points
// down and the baseline is at 9: first the left and the right edge, then points; " R" lifts the pen.
constexpr std::string_view glyph_table[] = {
    // clang-format off
    "JZ",  // space
    "MWRFRT RRYQZR[SZRY",  // !
    "JZNFNM RVFVM",  // "
    "H]SBLb RYBRb RLOZO RKUYU",  // #
    "H\\PBP_ RTBT_ RYIWGTFPFMGKIKKLMMNOOUQWRXSYUYXWZT[P[MZKX",  // $
    "F^[FI[ RNFPHPJOLMMKMIKIIJGLFNFPGSHVHYG[F RWTUUTWTYV[X[ZZ[X[VYTWT",  // %
    "E_\\O\\N[MZMYNXPVUTXRZP[L[JZIYHWHUISJRQNRMSKSIRGPFNGMIMKNNPQUXWZY[[[\\Z\\Y",  // &
    "MWRHQGRFSGSIRKQL",  // '
    "KYVBTDRGPKOPOTPYR]T`Vb",  // (
    "KYNBPDRGTKUPUTTYR]P`Nb",  // )
    "JZRFRR RMIWO RWIMO",  // *
    "E_RIR[ RIR[R",  // +
    "MWSZR[QZRYSZS\\R^Q_",  // ,
    "E_IR[R",  // -
    "MWRYQZR[SZRY",  // .
    "G][BIb",  // /
    "H\\QFNGLJKOKRLWNZQ[S[VZXWYRYOXJVGSFQF",  // 0
    "H\\NJPISFS[",  // 1
    "H\\LKLJMHNGPFTFVGWHXJXLWNUQK[Y[",  // 2
    "H\\MFXFRNUNWOXPYSYUXXVZS[P[MZLYKW",  // 3
    "H\\UFKTZT RUFU[",  // 4
    "H\\WFMFLOMNPMSMVNXPYSYUXXVZS[P[MZLYKW",  // 5
    "H\\XIWGTFRFOGMJLOLTMXOZR[S[VZXXYUYTXQVOSNRNOOMQLT",  // 6
    "H\\YFO[ RKFYF",  // 7
    "H\\PFMGLILKMMONSOVPXRYTYWXYWZT[P[MZLYKWKTLRNPQOUNWMXKXIWGTFPF",  // 8
    "H\\XMWPURRSQSNRLPKMKLLINGQFRFUGWIXMXRWWUZR[P[MZLX",  // 9
    "MWRMQNROSNRM RRYQZR[SZRY",  // :
    "MWRMQNROSNRM RSZR[QZRYSZS\\R^Q_",  // ;
    "F^ZIJRZ[",  // <
    "E_IO[O RIU[U",  // =
    "F^JIZRJ[",  // >
    "I[LKLJMHNGPFTFVGWHXJXLWNVORQRT RRYQZR[SZRY",  // ?
    "E`WNVLTKQKOLNMMPMSNUPVSVUUVS RQKOMNPNSOUPV RWKVSVUXVZV\\T]Q]O\\L[JYHWGTFQFNGLHJJILHOHRIUJWLYNZQ[T[WZYYZX RXKWSWUXV",  // @
    "I[RFJ[ RRFZ[ RMTWT",  // A
    "G\\KFK[ RKFTFWGXHYJYLXNWOTP RKPTPWQXRYTYWXYWZT[K[",  // B
    "H]ZKYIWGUFQFOGMILKKNKSLVMXOZQ[U[WZYXZV",  // C
    "G\\KFK[ RKFRFUGWIXKYNYSXVWXUZR[K[",  // D
    "H[LFL[ RLFYF RLPTP RL[Y[",  // E
    "HZLFL[ RLFYF RLPTP",  // F
    "H]ZKYIWGUFQFOGMILKKNKSLVMXOZQ[U[WZYXZVZS RUSZS",  // G
    "G]KFK[ RYFY[ RKPYP",  // H
    "NVRFR[",  // I
    "JZVFVVUYTZR[P[NZMYLVLT",  // J
    "G\\KFK[ RYFKT RPOY[",  // K
    "HYLFL[ RL[X[",  // L
    "F^JFJ[ RJFR[ RZFR[ RZFZ[",  // M
    "G]KFK[ RKFY[ RYFY[",  // N
    "G]PFNGLIKKJNJSKVLXNZP[T[VZXXYVZSZNYKXIVGTFPF",  // O
    "G\\KFK[ RKFTFWGXHYJYMXOWPTQKQ",  // P
    "G]PFNGLIKKJNJSKVLXNZP[T[VZXXYVZSZNYKXIVGTFPF RSWY]",  // Q
    "G\\KFK[ RKFTFWGXHYJYLXNWOTPKP RRPY[",  // R
    "H\\YIWGTFPFMGKIKKLMMNOOUQWRXSYUYXWZT[P[MZKX",  // S
    "JZRFR[ RKFYF",  // T
    "G]KFKULXNZQ[S[VZXXYUYF",  // U
    "I[JFR[ RZFR[",  // V
    "F^HFM[ RRFM[ RRFW[ R\\FW[",  // W
    "H\\KFY[ RYFK[",  // X
    "I[JFRPR[ RZFRP",  // Y
    "H\\YFK[ RKFYF RK[Y[",  // Z
    "KYOBOb RPBPb ROBVB RObVb",  // [
    "KYKFY^",  // backslash
    "KYTBTb RUBUb RNBUB RNbUb",  // ]
    "JZPLRITL RMORJWO RRJR[",  // ^
    "JZJ]Z]",  // _
    "MWSFRGQIQKRLSKRJ",  // `
    "I\\XMX[ RXPVNTMQMONMPLSLUMXOZQ[T[VZXX",  // a
    "H[LFL[ RLPNNPMSMUNWPXSXUWXUZS[P[NZLX",  // b
    "I[XPVNTMQMONMPLSLUMXOZQ[T[VZXX",  // c
    "I\\XFX[ RXPVNTMQMONMPLSLUMXOZQ[T[VZXX",  // d
    "I[LSXSXQWOVNTMQMONMPLSLUMXOZQ[T[VZXX",  // e
    "MYWFUFSGRJR[ ROMVM",  // f
    "I\\XMX]W`VaTbQbOa RXPVNTMQMONMPLSLUMXOZQ[T[VZXX",  // g
    "I\\MFM[ RMQPNRMUMWNXQX[",  // h
    "NVQFRGSFREQF RRMR[",  // i
    "MWRFSGTFSERF RSMS^RaPbNb",  // j
    "IZMFM[ RWMMW RQSX[",  // k
    "NVRFR[",  // l
    "CaGMG[ RGQJNLMOMQNRQR[ RRQUNWMZM\\N]Q][",  // m
    "I\\MMM[ RMQPNRMUMWNXQX[",  // n
    "I\\QMONMPLSLUMXOZQ[T[VZXXYUYSXPVNTMQM",  // o
    "H[LMLb RLPNNPMSMUNWPXSXUWXUZS[P[NZLX",  // p
    "I\\XMXb RXPVNTMQMONMPLSLUMXOZQ[T[VZXX",  // q
    "KXOMO[ ROSPPRNTMWM",  // r
    "J[XPWNTMQMNNMPNRPSUTWUXWXXWZT[Q[NZMX",  // s
    "MYRFRWSZU[W[ ROMVM",  // t
    "I\\MMMWNZP[S[UZXW RXMX[",  // u
    "JZLMR[ RXMR[",  // v
    "G]JMN[ RRMN[ RRMV[ RZMV[",  // w
    "J[MMX[ RXMM[",  // x
    "JZLMR[ RXMR[P_NaLbKb",  // y
    "J[XMM[ RMMXM RM[X[",  // z
    "KYTBRCQDPFPHQJRKSMSOQQ RRCQEQGRISJTLTNSPORSTTVTXSZR[Q]Q_Ra RQSSUSWRYQZP\\P^Q`RaTb",  // {
    "NVRBRb",  // |
    "KYPBRCSDTFTHSJRKQMQOSQ RRCSESGRIQJPLPNQPURQTPVPXQZR[S]S_Ra RSSQUQWRYSZT\\T^S`RaPb",  // }
    "F^IUISJPLONOPPTSVTXTZS[Q RISJQLPNPPQTTVUXUZT[Q[O",  // ~
    // clang-format on
};
constexpr std::string_view micro = "I\\MMMb RMWNZP[S[UZXW RXMX[";  // our own
constexpr int digit_height = 21, descent = 7;

int coordinate(char letter) {
  return letter - 'R';
}

struct Glyph {
  int advance = 0;
  std::vector<std::vector<Point>> strokes;  // from the left edge and, upwards, from the baseline
};

Glyph decoded(std::string_view text) {
  const int left = coordinate(text[0]);
  Glyph glyph;
  glyph.advance = coordinate(text[1]) - left;
  glyph.strokes.emplace_back();
  for (size_t i = 2; i + 1 < text.size(); i += 2) {
    if (text[i] == ' ')
      glyph.strokes.emplace_back();
    else
      glyph.strokes.back().push_back({coordinate(text[i]) - left, 9 - coordinate(text[i + 1])});
  }
  return glyph;
}

std::vector<Glyph> glyphs_of(std::string_view text) {
  std::vector<Glyph> result;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto code = static_cast<unsigned char>(text[i]);
    const std::string_view letter = text.substr(i, 2);
    if (letter == "\u00b5" || letter == "\u03bc")
      result.push_back(decoded(micro));
    else if (code >= ' ' && code < ' ' + std::size(glyph_table))
      result.push_back(decoded(glyph_table[code - ' ']));
    else if ((code & 0xc0) != 0x80)  // one blank for a character of several bytes
      result.push_back(decoded(glyph_table[0]));
    if (letter == "\u00b5" || letter == "\u03bc") ++i;
  }
  return result;
}

double distance_to_line(double x, double y, double x0, double y0, double x1, double y1) {
  const double dx = x1 - x0, dy = y1 - y0, squared = dx * dx + dy * dy;
  const double t = squared > 0 ? std::clamp(((x - x0) * dx + (y - y0) * dy) / squared, 0.0, 1.0) : 0.0;
  return std::hypot(x - x0 - t * dx, y - y0 - t * dy);
}

}  // namespace

double text_width(std::string_view text, double height) {
  double units = 0;
  for (const Glyph& glyph : glyphs_of(text)) units += glyph.advance;
  return units * height / digit_height;
}

void draw_text(Image& image, double left, double baseline, double height, std::string_view text,
               Colour colour) {
  const double unit = height / digit_height, half_width = std::max(0.55, height * 0.065);
  for (const Glyph& glyph : glyphs_of(text)) {
    const int64_t top = std::llround(baseline - height) - 2,
                  bottom = std::llround(baseline + descent * unit) + 2;
    const int64_t first = std::llround(left) - 2, last = std::llround(left + glyph.advance * unit) + 2;
    for (int64_t row = std::max<int64_t>(top, 0); row < std::min(bottom, image.height); ++row) {
      for (int64_t column = std::max<int64_t>(first, 0); column < std::min(last, image.width); ++column) {
        double nearest = 1e9;
        for (const std::vector<Point>& stroke : glyph.strokes) {
          for (size_t i = 1; i < stroke.size(); ++i) {
            const Point a = stroke[i - 1], b = stroke[i];
            nearest = std::min(
                nearest, distance_to_line(column + 0.5, row + 0.5, left + a.x * unit, baseline - a.y * unit,
                                          left + b.x * unit, baseline - b.y * unit));
          }
        }
        // The share of the pixel that the stroke covers, taking the pixel as a disc.
        const double cover = std::clamp(half_width + 0.5 - nearest, 0.0, 1.0);
        if (cover == 0) continue;
        Colour mixed = image.at(column, row);
        for (size_t c = 0; c < 3; ++c) {
          mixed[c] = static_cast<uint8_t>(std::lround(mixed[c] + cover * (colour[c] - mixed[c])));
        }
        image.set(column, row, mixed);
      }
    }
    left += glyph.advance * unit;
  }
}

}  // namespace eelsvae
