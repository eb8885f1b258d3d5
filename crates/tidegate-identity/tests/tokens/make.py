"""Makes vectors.json: tokens of another implementation, good and bad, and what has to become of them.

    pip install pyjwt cryptography && python make.py > vectors.json

Keys are made anew each time; private ones are not kept. `refused` is what the client is told, null where the token is valid.
"""

import base64
import hashlib
import hmac
import json
import secrets

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import get_default_algorithms

NOW = 1_760_000_000
AUDIENCE = "tidegate"
MALFORMED = "the token is malformed"
ALGORITHM = "the token's algorithm is not accepted here"
SIGNATURE = "the token's signature is not valid"
ISSUER = "the token is another issuer's than its key"
FOR_OTHERS = "the token is for another audience"
CRITICAL = "the token needs an extension (crit) that is not known here"
KIND = "the token is of another kind than those that give access (typ)"
EXPIRED = "the token has expired"
TOO_LONG = "the token is longer than is accepted here"

ALGORITHMS = get_default_algorithms()
RSA = rsa.generate_private_key(65537, 2048)
KEYS = {name: RSA for name in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]}
KEYS |= {"ES256": ec.generate_private_key(ec.SECP256R1()), "ES384": ec.generate_private_key(ec.SECP384R1())}
KEYS |= {"EdDSA": ed25519.Ed25519PrivateKey.generate()}
KEYS |= {name: secrets.token_urlsafe(64) for name in ["HS256", "HS384", "HS512"]}
OTHER_RSA = rsa.generate_private_key(65537, 2048)
SMALL_RSA = rsa.generate_private_key(65537, 1024)


def b64(data):
    return base64.urlsafe_b64encode(data if isinstance(data, bytes) else data.encode()).rstrip(b"=").decode()


def dumps(value):
    return value if isinstance(value, (str, bytes)) else json.dumps(value, separators=(",", ":"))


def pem(key):
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def issuer(algorithm):
    return f"https://{algorithm.lower()}.example"


def claims(algorithm="HS256", **changes):
    said = {"iss": issuer(algorithm), "aud": AUDIENCE, "sub": "alice", "tenant": "acme", "sid": "s-1"}
    said |= {"roles": ["admin", "staff"], "plan": "pro", "iat": NOW - 60, "nbf": NOW - 60, "exp": NOW + 600}
    return {name: value for name, value in (said | changes).items() if value is not ...}


def token(payload, header=None, algorithm="HS256", key=None):
    """Signs any header and payload, also such as no library would write."""
    header = {"alg": algorithm, "typ": "JWT"} if header is None else header
    signed = f"{b64(dumps(header))}.{b64(dumps(payload))}"
    signer = ALGORITHMS[algorithm]
    signature = signer.sign(signed.encode(), signer.prepare_key(key or KEYS[algorithm]))
    return f"{signed}.{b64(signature)}"


def headed(**members):
    return token(claims(), {"alg": "HS256"} | members)


CASES = []


def case(name, made, refused=None, **expected):
    CASES.append({"name": name, "token": made, "refused": refused} | expected)


def accepted():
    for algorithm in KEYS:
        case(f"signed with {algorithm}", token(claims(algorithm), algorithm=algorithm))
    case("no typ, another kid", headed(kid="anything"))
    for typ in ["jwt", "at+jwt", "application/at+jwt", "application/JWT"]:
        case(f"typ {typ}", headed(typ=typ))
    case("a list of audiences", token(claims(aud=["other", AUDIENCE])))
    case("just not expired", token(claims(exp=NOW - 29)), expires_at_ms=(NOW - 29) * 1000)
    case("a clock that is ahead", token(claims(nbf=NOW + 30, iat=NOW + 30)), issued_at_ms=(NOW + 30) * 1000)
    case("dates with fractions", token(claims(exp=NOW + 0.5)), expires_at_ms=NOW * 1000 + 500)
    case("for ever", token(claims(exp=1e300)), expires_at_ms=2**64 - 1)
    case("roles as a text", token(claims(roles="admin  staff")))
    case("roles that are not its to give", token(claims(roles=["admin", "*", "anonymous", "", "staff"])))
    case("no roles", token(claims(roles=None)), roles=[])
    case("own keys are not looked at", headed(jku="http://127.0.0.1:1/", x5u="http://127.0.0.1:1/", jwk={"kty": "oct"}))
    case("a deep header", token(claims(), '{"alg":"HS256","x":' + "[" * 100 + "]" * 100 + "}"))


def confused():
    spki = RSA.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pkcs1 = RSA.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    for name, secret in {"PEM": pem(RSA), "trimmed PEM": pem(RSA).strip(), "SPKI": spki, "PKCS 1": pkcs1}.items():
        secret = secret if isinstance(secret, bytes) else secret.encode()
        signed = f"{b64(dumps({'alg': 'HS256'}))}.{b64(dumps(claims('RS256')))}"
        signature = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
        case(f"a public key ({name}) as secret", f"{signed}.{b64(signature)}", SIGNATURE)
    for real in ["RS256", "HS256", "ES256"]:
        for swapped in KEYS:
            if swapped != real:
                case(f"{real} called {swapped}", token(claims(real), {"alg": swapped}, real), SIGNATURE)
    for none in ["none", "None", "NONE", "nOnE", "", "hs256", "HS256 ", "ES512", "ES256K", "A128KW", "dir"]:
        unsigned = f"{b64(dumps({'alg': none}))}.{b64(dumps(claims()))}."
        case(f"alg {none!r}, unsigned", unsigned, ALGORITHM)
        case(f"alg {none!r}, signed", token(claims(), {"alg": none}), ALGORITHM)
    for wrong in [None, 5, ["HS256"], {"HS256": 1}]:
        case(f"alg {wrong}", token(claims(), {"alg": wrong}), MALFORMED)
    case("no alg", token(claims(), {"typ": "JWT"}), MALFORMED)
    case("the name of another issuer", token(claims("ES256"), algorithm="RS256"), ISSUER)
    case("the key of another issuer", token(claims("RS256"), algorithm="RS256", key=OTHER_RSA), SIGNATURE)
    jwk = json.loads(ALGORITHMS["RS256"].to_jwk(OTHER_RSA.public_key()))
    brought = token(claims("RS256"), {"alg": "RS256", "jwk": jwk}, "RS256", OTHER_RSA)
    case("a key brought along", brought, SIGNATURE)


def signatures():
    signed, _, signature = token(claims("ES256"), algorithm="ES256").rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    der = utils.encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    case("an ECDSA signature in DER", f"{signed}.{b64(der)}", SIGNATURE)
    case("an ECDSA signature of zeros", f"{signed}.{b64(bytes(64))}", SIGNATURE)
    header, payload, signature = token(claims()).split(".")
    case("no signature", f"{header}.{payload}.", SIGNATURE)
    case("half a signature", f"{header}.{payload}.{signature[:22]}", SIGNATURE)
    case("another payload", f"{header}.{b64(dumps(claims(sub='bob')))}.{signature}", SIGNATURE)
    case("another header", f"{b64(dumps({'alg': 'HS256'}))}.{payload}.{signature}", SIGNATURE)
    case("a padded signature", f"{header}.{payload}.{signature}=", SIGNATURE)
    case("a padded payload", f"{header}.{payload}=.{signature}", SIGNATURE)


def misshapen():
    good = token(claims())
    header, payload, signature = good.split(".")
    shapes = ["", ".", "..", "...", header, f"{header}.{payload}", f"{good}.", f".{good}", f"{good}.{header}.{payload}"]
    for shape in shapes + [f" {good}", f"{header}=.{payload}.{signature}", f"{header}\n.{payload}.{signature}"]:
        case(f"{shape.count('.') + 1} parts, {len(shape)} bytes", shape, MALFORMED)
    case("a space behind", f"{good} ", SIGNATURE)
    for wrong in ["[]", '["HS256"]', "null", "5", '"HS256"', "", "{", '{"alg":"HS256"}x', b'{"alg":"HS256","kid":"\xff"}']:
        case(f"the header {wrong}", token(claims(), wrong), MALFORMED)
    for twice in ['{"alg":"HS256","alg":"HS256"}', '{"alg":"none","alg":"HS256"}', '{"alg":"HS256","kid":"a","kid":"a"}']:
        case(f"the header {twice}", token(claims(), twice), MALFORMED)
    for kid in [5, ["a"], {}]:
        case(f"kid {kid}", headed(kid=kid), MALFORMED)
    for wrong in ["[]", "null", '"alice"', "5", "", "{", dumps(claims()) + "x", b'{"sub":"\xff"}']:
        case(f"the payload {wrong[:9]}", token(wrong), MALFORMED)
    twice = dumps(claims())[:-1]
    case("a claim twice", token(twice + ',"sub":"bob"}'), MALFORMED)
    case("a claim twice, escaped", token(twice + ',"s\\u0075b":"bob"}'), MALFORMED)
    case("a nested claim twice", token(twice + ',"realm":[{"roles":"a","roles":"b"}]}'), MALFORMED)
    case("a deep payload", token(twice + ',"x":' + "[" * 2000 + "]" * 2000 + "}"), MALFORMED)
    case("a number past all bounds", token(twice + ',"x":1e999}'), MALFORMED)
    case("a large token", token(claims(x="x" * 6_000)), TOO_LONG)
    case("a large header", headed(x="x" * 3_500), MALFORMED)
    for crit in [["exp"], ["b64"], [], None]:
        case(f"crit {crit}", headed(crit=crit, b64=False), CRITICAL)
    for typ in ["logout+jwt", "secevent+jwt", "dpop+jwt", "application/jose", "JWE", ""]:
        case(f"typ {typ!r}", headed(typ=typ), KIND)


def claimed():
    def wrong(name, refused, *values):
        for value in values:
            said = "absent" if value is ... else str(value)[:20]
            case(f"{name} {said}", token(claims(**{name: value})), refused)

    def size(name):
        return f'the token\'s "{name}" is not of the right kind or size'

    wrong("iss", ISSUER, ..., None, "https://other.example", issuer("RS256"), [issuer("HS256")], issuer("HS256") + "/", 5)
    wrong("aud", FOR_OTHERS, ..., "other", [], ["other"], "", "Tidegate")
    wrong("aud", size("aud"), 5, None, {}, [AUDIENCE, 5], [[AUDIENCE]])
    wrong("exp", EXPIRED, NOW - 30, NOW - 31, 0, -1, -1e300, NOW - 30.001)
    wrong("exp", size("exp"), str(NOW + 600), True, [NOW + 600])
    wrong("exp", 'the token has no "exp"', ..., None)
    wrong("nbf", "the token is not valid yet", NOW + 31, NOW + 30.5, 1e300)
    wrong("nbf", size("nbf"), str(NOW), False)
    wrong("iat", "the token was issued in the future", NOW + 31, 2**63, 1e300)
    wrong("iat", size("iat"), str(NOW))
    wrong("sub", 'the token has no "sub"', ..., None)
    wrong("sub", size("sub"), "", 5, ["alice"], "a" * 257)
    wrong("tenant", size("tenant"), "", 5, True, ["acme"], "t" * 257)
    wrong("sid", size("sid"), "", 5, {}, "s" * 257)
    wrong("roles", size("roles"), 5, True, {}, ["a", 5], ["r" * 65], "r" * 65, ["a"] * 65, "a " * 65)


for group in [accepted, confused, signatures, misshapen, claimed]:
    group()
ISSUERS = [
    {"issuer": issuer(name), "algorithm": name} | ({"secret": key} if isinstance(key, str) else {"public_key": pem(key)})
    for name, key in KEYS.items()
]
SET = {"first": RSA, "second": OTHER_RSA}
print(json.dumps({
    "now": NOW, "audience": AUDIENCE, "issuers": ISSUERS, "small_public_key": pem(SMALL_RSA),
    "set": [json.loads(ALGORITHMS["RS256"].to_jwk(key.public_key())) | {"kid": kid} for kid, key in SET.items()],
    "set_tokens": [
        {"kid": kid, "by": by, "token": token(claims("RS256"), {"alg": "RS256"} | ({"kid": kid} if kid else {}), "RS256", key)}
        for kid in ["first", "second", "third", None] for by, key in SET.items()
    ],
    "cases": CASES,
}, indent=1))
